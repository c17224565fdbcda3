"""Videos by number, and the names of splits."""

from __future__ import annotations

from pathlib import Path

import pytest

from segblocks.data.indexed import (
    IndexedVideos,
    split_folder,
    split_names,
    split_places,
    to_int,
    typed_field,
)
from segblocks.data.sample import VideoSample
from tests.data.made import made_video


class Three(IndexedVideos):
    def _read(self, index: int) -> VideoSample:
        return made_video(self.names[index])


def test_indices() -> None:
    videos = Three("three", "vos", iter("abc"))
    assert [video.name for video in videos] == ["a", "b", "c"]
    assert (len(videos), videos[-3].name, videos[2].name) == (3, "a", "c")
    assert repr(videos) == "Three('three', 3 videos)"
    for index in (3, -4):
        with pytest.raises(IndexError, match=f"three has 3 videos, got index {index}"):
            videos[index]


def test_splits(tmp_path: Path) -> None:
    assert split_names("valid") == split_names("val")
    assert split_places(["{split}", "x"], "val") == ["valid", "val", "x"]
    (tmp_path / "val").mkdir()
    assert split_folder(tmp_path, "valid") == tmp_path / "val"
    (tmp_path / "valid").mkdir()
    assert split_folder(tmp_path, "val") == tmp_path / "valid"
    with pytest.raises(FileNotFoundError, match=r"no folder test for .* there are val, valid"):
        split_folder(tmp_path, "test")
    with pytest.raises(FileNotFoundError, match=r"there are no folders"):
        split_folder(tmp_path / "val", "train")


def test_fields() -> None:
    assert typed_field({"a": 1}, "a", int, "f") == 1
    with pytest.raises(ValueError, match="f: the field 'a' must be of type list, got int"):
        typed_field({"a": 1}, "a", list, "f")
    with pytest.raises(ValueError, match="f: the field 'b' is missing"):
        typed_field({"a": 1}, "b", int, "f")
    with pytest.raises(ValueError, match="f: expected an object, got list"):
        typed_field([1], "b", int, "f")
    assert to_int("12", "f") == 12
    for value in (None, "x", [1]):
        with pytest.raises(ValueError, match="f: expected a whole number"):
            to_int(value, "f")
