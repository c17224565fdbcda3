"""KITTI-STEP is read as it is written; instance numbers are a class's own."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from segblocks.data.kitti_step import KITTISTEPDataset, write_kitti_step
from segblocks.data.registry import open_dataset
from segblocks.data.sample import ObjectInfo
from segblocks.text.vocabulary import get_vocabulary
from tests.data.made_panoptic import STREET, StreetTruth, assert_same_panoptic, made_street

VIDEOS = (
    made_street("0002", frame_names="{:06d}".format),
    made_street("0006", (255, 256, 65535), annotated=(0, 1), void=False),
)
MAP = "panoptic_maps/val/0002/000001.png"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_kitti_step(VIDEOS, tmp_path)
    return tmp_path


def test_round_trip(root: Path) -> None:
    dataset = open_dataset("kitti_step", root, vocabulary=STREET, allow_missing=True)
    assert (dataset.task, dataset.names) == ("vps", ("0002", "0006"))
    for read, made in zip(dataset, VIDEOS, strict=True):
        assert_same_panoptic(read, made)
    assert_same_panoptic(pickle.loads(pickle.dumps(dataset))[1], VIDEOS[1])


def test_the_official_folder_of_pictures(root: Path) -> None:
    (root / "training").mkdir()
    (root / "images/val").rename(root / "training/image_02")
    assert_same_panoptic(KITTISTEPDataset(root, vocabulary=STREET)[0], VIDEOS[0])


def write_map(root: Path, values: list[list[tuple[int, int]]]) -> None:
    pixels = [[(label, number // 256, number % 256) for label, number in row] for row in values]
    for kind in ("images", "panoptic_maps"):
        path = root / kind / "val" / "0000" / "000000.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.array(pixels, np.uint8)).save(path)


def test_a_number_of_two_classes_and_one_without_object(tmp_path: Path) -> None:
    person, car = 11, 13
    write_map(
        tmp_path,
        [[(car, 1), (person, 1), (car, 700), (person, 0)], [(0, 0), (255, 0), (12, 5), (car, 1)]],
    )
    sample = KITTISTEPDataset(tmp_path)[0]
    assert {info.id: info.label for info in sample.objects} == {
        700: car, 65536 * person + 1: person, 65536 * car + 1: car
    }  # fmt: skip
    truth = sample.read_truth(0)
    assert truth.ids == tuple(info.id for info in sample.objects)
    np.testing.assert_array_equal(
        truth.masks[2], [[True, False, False, False], [False] * 3 + [True]]
    )
    np.testing.assert_array_equal(truth.semantic, [[car, person, car, person], [0, -1, 12, car]])
    np.testing.assert_array_equal(truth.ignore, [[False] * 4, [False, True, False, False]])


def test_numbers_shared_by_classes_survive(tmp_path: Path) -> None:
    made = made_street("0001", (65536 + 9, 3 * 65536 + 9))
    write_kitti_step([made], tmp_path)
    assert_same_panoptic(KITTISTEPDataset(tmp_path, vocabulary=STREET)[0], made)


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        # Cars and persons, classes 1 and 3, in turn.
        ((65536 + 9,), "object 65545 would be number 9 of class 1 and be read as 9"),
        ((9, 3 * 65536 + 9), "object 9 would be number 9 of class 1 and be read as 65545"),
        ((4464, 9, 65536 + 4464), "number 4464 of class 1 and be read as 4464"),
        ((7, 2 * 65536 + 1), r"ids must lie in 1\.\.65535, got 131073"),
    ],
)
def test_ids_that_would_not_be_read_again(
    ids: tuple[int, ...], message: str, tmp_path: Path
) -> None:
    made = made_street("0001", ids)
    labels = {i: 1 if k % 2 == 0 else 3 for k, i in enumerate(ids)}
    made = replace(
        made,
        objects=tuple(ObjectInfo(i, labels[i]) for i in sorted(ids)),
        read_truth=StreetTruth(tuple(sorted(labels.items())), late=0),
    )
    with pytest.raises(ValueError, match=message):
        write_kitti_step([made], tmp_path)
    assert not list(tmp_path.rglob("*.png"))


@settings(max_examples=20)
@given(ids=st.sets(st.integers(1, 65535), min_size=1, max_size=4))
def test_any_ids(tmp_path_factory: pytest.TempPathFactory, ids: set[int]) -> None:
    made = made_street("0001", sorted(ids))
    root = tmp_path_factory.mktemp("kitti")
    write_kitti_step([made], root)
    assert_same_panoptic(KITTISTEPDataset(root, vocabulary=STREET)[0], made)


def test_errors(root: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="found none of images/train, training/image_02"):
        KITTISTEPDataset(root, "train")
    street = get_vocabulary("kitti_step").subset(["car", "person"])
    with pytest.raises(ValueError, match=r"0002/00000\d\.png: .*no category of kitti_step"):
        KITTISTEPDataset(root, vocabulary=street)[0]
    with pytest.raises(ValueError, match=r"ids must lie in 1\.\.65535, got 65536"):
        write_kitti_step([made_street(ids=(65536,))], tmp_path / "high")
    with pytest.raises(ValueError, match=r"frame 2 has no annotation; annotated are \[0, 1\]"):
        KITTISTEPDataset(root, "valid", vocabulary=STREET, allow_missing=True)[1].read_truth(2)
    Image.new("L", (14, 8)).save(root / MAP)
    with pytest.raises(ValueError, match=r"000001\.png: expected 3 channel"):
        KITTISTEPDataset(root, vocabulary=STREET)[0]
