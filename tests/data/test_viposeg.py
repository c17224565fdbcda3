"""VIPOSeg is read as it is written: hints and truth apart, classes seen and unseen."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segblocks.data.viposeg import UNSEEN_CLASSES, VIPOSegDataset, write_viposeg
from segblocks.text.vocabulary import get_vocabulary
from tests.data.made import assert_same_video, made_video

VIPSEG = get_vocabulary("vipseg")
MADE = made_video("12_abc", (1, 2, 3), late={3: 2}, empty=(1,), vocabulary=VIPSEG)


def test_round_trip(tmp_path: Path) -> None:
    write_viposeg([MADE], tmp_path, suffix=".png")
    dataset = pickle.loads(pickle.dumps(VIPOSegDataset(tmp_path)))
    assert (dataset.name, dataset.task, dataset.vocabulary) == ("viposeg", "vos", VIPSEG)
    assert_same_video(pickle.loads(pickle.dumps(dataset[0])), MADE)


def test_hints_show_each_object_where_it_starts(tmp_path: Path) -> None:
    write_viposeg([MADE], tmp_path, suffix=".png")
    folder = tmp_path / "valid/Annotations/12_abc"
    shown = {p.stem: set(np.unique(np.array(Image.open(p))).tolist()) for p in folder.iterdir()}
    assert shown == {"00000": {0, 1, 2}, "00010": {0, 3}}


def test_training_annotates_all_frames(tmp_path: Path) -> None:
    write_viposeg([MADE], tmp_path, "train", suffix=".png")
    assert not (tmp_path / "train/Annotations_gt").exists()
    assert_same_video(VIPOSegDataset(tmp_path, split="train")[0], MADE)


def test_seen_classes(tmp_path: Path) -> None:
    assert len(UNSEEN_CLASSES) == 34
    assert sum(VIPSEG.is_thing(i) for i in UNSEEN_CLASSES) == 17
    unseen, machine = min(UNSEEN_CLASSES), 98
    for name, expected in (("12_abc", True), ("187_WUZUSD4477I", False)):
        root = tmp_path / name
        write_viposeg([made_video(name, (1, 2, 3), vocabulary=VIPSEG)], root)
        classes = {name: {"1": str(unseen), "2": str(machine), "3": 60}}
        (root / "valid/obj_class.json").write_text(json.dumps(classes))
        objects = VIPOSegDataset(root)[0].objects
        assert [o.attributes["seen"] for o in objects] == [False, expected, True]
        assert objects[2].label == VIPSEG.index("person")


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ({"1": "0", "2": "1"}, r"00010\.png: holds the object ids \[3\], which .*obj_class\.json"),
        ({"1": "124"}, r"obj_class\.json: video '12_abc': object 1 has the class 124"),
        ({"1": "wall"}, "expected a whole number, got 'wall'"),
        (["wall"], "expected object ids with classes"),
    ],
)
def test_broken_classes(tmp_path: Path, classes: object, message: str) -> None:
    write_viposeg([MADE], tmp_path)
    (tmp_path / "valid/obj_class.json").write_text(json.dumps({"12_abc": classes}))
    with pytest.raises(ValueError, match=message):
        VIPOSegDataset(tmp_path)[0]


def test_an_object_without_class_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"12_abc: the objects \[1\] have no class"):
        write_viposeg([made_video("12_abc", (1,), vocabulary=None)], tmp_path)
