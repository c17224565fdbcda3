"""Datasets open by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from segblocks.data import list_datasets, open_dataset
from segblocks.data.davis import write_davis
from tests.data.made import made_video


def test_names() -> None:
    names = list_datasets()
    assert names == tuple(sorted(names))
    assert {"burst", "davis2016", "davis2017", "mose", "ovis", "uvo", "viposeg"} <= set(names)


def test_options_and_splits_reach_the_reader(tmp_path: Path) -> None:
    write_davis([made_video("a", (2, 3))], tmp_path, "train")
    assert [i.id for i in open_dataset("davis2017", tmp_path, split="train")[0].objects] == [2, 3]
    write_davis([made_video("a", (2, 3))], tmp_path, year=2016, resolution="small")
    dataset = open_dataset("davis2016", str(tmp_path), resolution="small")
    assert dataset.name == "davis2016"
    assert [i.id for i in dataset[0].objects] == [1]


def test_unknown_names_and_options(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no dataset 'davis_2017'; did you mean 'davis2017'"):
        open_dataset("davis_2017", tmp_path)
    with pytest.raises(ValueError, match=r"no dataset 'zzz'; known are .*youtube_vos_2019"):
        open_dataset("zzz", tmp_path)
    with pytest.raises(TypeError, match="all_frames"):
        open_dataset("davis2017", tmp_path, all_frames=True)


@pytest.mark.parametrize("name", list_datasets())
def test_an_empty_folder(name: str, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=str(tmp_path)):
        open_dataset(name, tmp_path)
