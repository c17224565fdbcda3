"""VSPW is read as it is written; 0 and 255 are not judged."""

from __future__ import annotations

import pickle
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segblocks.data.registry import open_dataset
from segblocks.data.vspw import VSPWDataset, write_vspw
from segblocks.text.vocabulary import Vocabulary
from tests.data.made_panoptic import STREET, made_street

VIDEOS = (made_street("b_1"), made_street("a_2", annotated=(1,), void=False))
MASK = "data/b_1/mask/00001.png"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_vspw(VIDEOS, tmp_path, suffix=".png")
    return tmp_path


def test_round_trip(root: Path) -> None:
    dataset = open_dataset("vspw", root, vocabulary=STREET, allow_missing=True)
    assert (dataset.task, dataset.names) == ("vss", ("b_1", "a_2"))
    dataset = pickle.loads(pickle.dumps(dataset))
    for read, made in zip(dataset, VIDEOS, strict=True):
        assert (read.name, read.num_frames, read.size) == (made.name, 3, made.size)
        assert (read.annotated, read.frame_names) == (made.annotated, made.frame_names)
        assert read.objects == ()
        for t in range(3):
            np.testing.assert_array_equal(read.read_frame(t), made.read_frame(t))
        for t in read.annotated:
            truth = read.read_truth(t)
            np.testing.assert_array_equal(truth.semantic, made.read_truth(t).semantic)
            assert truth.masks.shape == (0, *made.size)


def test_others_and_void_are_not_judged(root: Path) -> None:
    Image.fromarray(np.array([[0, 255], [124, 1]], np.uint8).repeat(7, 1).repeat(4, 0)).save(
        root / MASK
    )
    semantic = VSPWDataset(root)[0].read_truth(1).semantic
    assert semantic is not None
    assert semantic[[0, 0, -1, -1], [0, -1, 0, -1]].tolist() == [-1, -1, 123, 0]


def test_test_sets_have_no_masks(root: Path) -> None:
    shutil.rmtree(root / "data/b_1/mask")
    assert VSPWDataset(root, vocabulary=STREET)[0].annotated == ()


def test_errors(root: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"train\.txt: no such list"):
        VSPWDataset(root, "train")
    with pytest.raises(ValueError, match=r"frame 0 has no annotation; annotated are \[1\]"):
        VSPWDataset(root, "valid", vocabulary=STREET, allow_missing=True)[1].read_truth(0)
    Image.new("L", (14, 8), 130).save(root / MASK)
    with pytest.raises(ValueError, match=r"00001\.png: .*value 130, which is no category of vspw"):
        VSPWDataset(root)[0].read_truth(1)
    zero = Vocabulary("zero", STREET.classes, {1, 3}, (0, 1, 2, 3))
    with pytest.raises(ValueError, match="no category id may be 0"):
        write_vspw([replace(VIDEOS[0], vocabulary=zero)], root)
    high = Vocabulary("high", STREET.classes, {1, 3}, (1, 2, 3, 255))
    with pytest.raises(ValueError, match=r"ids must lie in 0\.\.255 and differ from 255"):
        write_vspw([replace(VIDEOS[0], vocabulary=high)], root)
    (root / "val.txt").write_text("ghost\n")
    with pytest.raises(FileNotFoundError, match="ghost/origin: no such folder"):
        VSPWDataset(root)[0]
