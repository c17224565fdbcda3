"""Cityscapes is read as it is written; groups are crowds."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segblocks.data.cityscapes import CityscapesDataset, write_cityscapes
from segblocks.data.registry import open_dataset
from tests.data.made_panoptic import STREET, as_still, assert_same_panoptic, made_street

STILLS = (
    made_street("made_000000_000001", (5000, 11007), num_frames=1),
    made_street("made_000000_000002", (5, 11000), crowd=(5,), num_frames=1, void=False),
)
IDS = "gtFine/val/made/made_000000_000001_gtFine_instanceIds.png"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_cityscapes(STILLS, tmp_path)
    return tmp_path


def test_round_trip(root: Path) -> None:
    dataset = open_dataset("cityscapes", root, vocabulary=STREET)
    assert (dataset.task, dataset.names) == ("vps", tuple(s.name for s in STILLS))
    for read, made in zip(pickle.loads(pickle.dumps(dataset)), STILLS, strict=True):
        assert_same_panoptic(read, as_still(made))


def test_official_numbers(root: Path) -> None:
    ids = np.array([[7, 26000, 26001, 26], [0, 3, 33099, 7]], np.uint16)
    Image.fromarray(ids).save(root / IDS)
    Image.new("RGB", (4, 2)).save(root / "leftImg8bit/val/made/made_000000_000001_leftImg8bit.png")
    sample = CityscapesDataset(root)[0]
    assert [(i.id, i.label, i.is_crowd) for i in sample.objects] == [
        (26, 26, True),
        (26000, 26, False),
        (26001, 26, False),
        (33099, 33, False),
    ]
    truth = sample.read_truth(0)
    np.testing.assert_array_equal(truth.semantic, [[7, 26, 26, 26], [-1, 3, 33, 7]])
    np.testing.assert_array_equal(truth.ignore, [[False] * 4, [True, False, False, False]])


def test_ids_of_other_kinds_are_counted_a_class(tmp_path: Path) -> None:
    write_cityscapes([made_street("s", (1, 2, 3), num_frames=1)], tmp_path)
    sample = CityscapesDataset(tmp_path, vocabulary=STREET)[0]
    assert [info.id for info in sample.objects] == [5000, 5001, 11000]
    with Image.open(tmp_path / "gtFine/val/made/s_gtFine_labelIds.png") as image:
        assert set(np.unique(np.array(image)).tolist()) == {0, 2, 5, 9, 11}


def test_valid_is_val(root: Path) -> None:
    assert len(CityscapesDataset(root, "valid", vocabulary=STREET)) == 2


def test_errors(root: Path) -> None:
    with pytest.raises(FileNotFoundError, match="leftImg8bit/train: no such folder"):
        CityscapesDataset(root, "train")
    Image.fromarray(np.full((8, 14), 11464, np.uint16)).save(root / IDS)
    with pytest.raises(ValueError, match=r"instanceIds\.png: .*value 11, which is no category"):
        CityscapesDataset(root, vocabulary=STREET.subset(["road", "car"]))[0]
    (root / IDS).unlink()
    with pytest.raises(FileNotFoundError, match=r"instanceIds\.png"):
        CityscapesDataset(root)[0]
