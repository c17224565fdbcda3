"""Videos by number, and the names of splits."""

from __future__ import annotations

from pathlib import Path

import pytest

from segblocks.data.indexed import (
    IndexedVideos,
    flag_field,
    int_field,
    list_field,
    name_field,
    size_fields,
    split_folder,
    split_names,
    split_places,
    to_int,
    typed_field,
)
from segblocks.data.sample import VideoSample
from segblocks.text.vocabulary import get_vocabulary
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


def test_classes() -> None:
    classes = get_vocabulary("ovis")
    assert Three("three", "vis", "abc", classes).classes is classes
    with pytest.raises(ValueError, match="three has no classes"):
        _ = Three("three", "vos", "abc").classes


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
    for value in (None, "x", [1], 2.5, float("inf"), float("nan")):
        with pytest.raises(ValueError, match="f: expected a whole number"):
            to_int(value, "f")


def test_fields_of_a_kind() -> None:
    with pytest.raises(ValueError, match="'a' must be of type int, got bool"):
        typed_field({"a": True}, "a", int, "f")
    assert int_field({"a": "3"}, "a", "f") == 3
    with pytest.raises(ValueError, match="f: the field 'a': expected a whole number, got 'b'"):
        int_field({"a": "b"}, "a", "f")
    assert flag_field({}, "a", "f", default=True)
    assert not flag_field({"a": 0}, "a", "f", default=True)
    assert (name_field({"a": 5}, "a", "f"), name_field({"a": "b"}, "a", "f")) == ("5", "b")
    for value in (None, "", True, 1.5, []):
        with pytest.raises(ValueError, match="f: the field 'a' must be a text or a whole number"):
            name_field({"a": value}, "a", "f")
    assert size_fields({"height": 2, "width": 3}, "f") == (2, 3)
    with pytest.raises(ValueError, match="'height' and 'width' must be positive, got 0 and 3"):
        size_fields({"height": 0, "width": 3}, "f")
    assert list_field({"a": ["b"]}, "a", str, "f") == ["b"]
    assert list_field({"a": None}, "a", str, "f", optional=True) == []
    with pytest.raises(ValueError, match=r"f: the field 'a\[1\]' must be of type str, got int"):
        list_field({"a": ["b", 1]}, "a", str, "f")
    with pytest.raises(ValueError, match="f: the field 'a' is missing"):
        list_field({}, "a", str, "f")
