"""MOSE is read as it is written; its validation set keeps all but the first frames."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from segblocks.data.mose import MOSEDataset, write_mose
from tests.data.made import assert_same_truth, assert_same_video, made_video

MADE = made_video("0a1b", (1, 4, 300), late={4: 1}, empty=(2,), vocabulary=None)


def test_round_trip(tmp_path: Path) -> None:
    write_mose([MADE, made_video("zz", (1,), vocabulary=None)], tmp_path, "train", suffix=".png")
    dataset = pickle.loads(pickle.dumps(MOSEDataset(tmp_path, split="train")))
    assert (dataset.name, dataset.task, dataset.names) == ("mose", "vos", ("0a1b", "zz"))
    assert_same_video(dataset[0], MADE)
    assert dataset[0].hint_frames == {1: 0, 4: 1, 300: 0}


def test_validation_gives_first_frames_alone(tmp_path: Path) -> None:
    write_mose([MADE], tmp_path, suffix=".png")
    for path in (tmp_path / "valid/Annotations/0a1b").iterdir():
        if path.stem not in ("00000", "00005"):
            path.unlink()
    sample = MOSEDataset(tmp_path)[0]
    assert (sample.annotated, sample.hint_frames) == ((), MADE.hint_frames)
    assert_same_truth(sample.read_truth(0), MADE.read_truth(0))


def test_errors(tmp_path: Path) -> None:
    write_mose([MADE], tmp_path, suffix=".png")
    with pytest.raises(FileNotFoundError, match=r"no folder train .* there are valid"):
        MOSEDataset(tmp_path, split="train")
    with pytest.raises(FileNotFoundError, match=r"nowhere: no such folder"):
        MOSEDataset(tmp_path / "nowhere")
    (tmp_path / "valid/JPEGImages/0a1b/00010.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"0a1b/00010\.png: the frame 00010 .* is missing"):
        MOSEDataset(tmp_path)[0]
