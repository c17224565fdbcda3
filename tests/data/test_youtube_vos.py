"""YouTube-VOS is read as it is written: late objects, classes, frames between the annotated."""

from __future__ import annotations

import json
import pickle
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from segblocks.data.sample import ObjectInfo
from segblocks.data.youtube_vos import SEEN_CATEGORIES, YouTubeVOSDataset, write_youtube_vos
from tests.data.made import assert_same_truth, assert_same_video, made_video

MADE = replace(
    made_video("003234408d", (1, 2, 7), late={7: 2}, empty=(1,), vocabulary=None),
    objects=(
        ObjectInfo(1, attributes={"category": "penguin"}),
        ObjectInfo(2, attributes={"category": "flying_disc"}),
        ObjectInfo(7),
    ),
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_youtube_vos([MADE], tmp_path, suffix=".png")
    return tmp_path


def edit_meta(root: Path, change: Any) -> None:
    path = root / "valid/meta.json"
    content = json.loads(path.read_text())
    change(content["videos"]["003234408d"])
    path.write_text(json.dumps(content))


def test_round_trip(root: Path) -> None:
    dataset = pickle.loads(pickle.dumps(YouTubeVOSDataset(root)))
    assert (dataset.name, dataset.task) == ("youtube_vos_2019", "vos")
    sample = pickle.loads(pickle.dumps(dataset[0]))
    assert_same_video(sample, MADE)
    assert sample.fps == 6
    assert [info.attributes for info in sample.objects] == [
        {"category": "penguin", "seen": True},
        {"category": "flying_disc", "seen": False},
        {},
    ]


def test_there_are_65_seen_classes() -> None:
    assert len(SEEN_CATEGORIES) == 65


def test_labels_become_categories(tmp_path: Path) -> None:
    write_youtube_vos([made_video("a", (1, 2))], tmp_path, "train", suffix=".png")
    objects = YouTubeVOSDataset(tmp_path, split="train", year=2018)[0].objects
    assert [info.attributes["category"] for info in objects] == ["cat", "dog"]


def test_a_listed_frame_that_does_not_show_the_object_is_no_hint(root: Path) -> None:
    edit_meta(root, lambda v: v["objects"]["7"].update(frames=["00000", "00005", "00010", "00015"]))
    assert YouTubeVOSDataset(root)[0].hint_frames == {1: 0, 2: 0, 7: 2}


def test_the_lists_say_where_an_object_starts(root: Path) -> None:
    edit_meta(root, lambda v: v["objects"]["1"].update(frames=["00010", "00015"]))
    assert YouTubeVOSDataset(root)[0].hint_frames == {1: 2, 2: 0, 7: 2}


def test_hint_frames_without_lists_of_frames(root: Path) -> None:
    edit_meta(root, lambda v: v["objects"]["7"].pop("frames"))
    assert YouTubeVOSDataset(root)[0].hint_frames == {1: 0, 2: 0, 7: 2}


def test_a_listed_frame_without_annotation_is_no_hint(root: Path) -> None:
    (root / "valid/Annotations/003234408d/00010.png").unlink()
    sample = YouTubeVOSDataset(root, allow_missing=True)[0]
    assert (sample.hint_frames, sample.annotated) == ({1: 0, 2: 0, 7: 3}, (0, 1, 3))


def test_hidden_annotations(root: Path) -> None:
    folder = root / "valid/Annotations/003234408d"
    for name in ("00005", "00015"):
        (folder / f"{name}.png").unlink()
    sample = YouTubeVOSDataset(root, split="valid")[0]
    assert (sample.annotated, sample.hint_frames) == ((), {1: 0, 2: 0, 7: 2})
    assert_same_truth(sample.read_truth(2), MADE.read_truth(2))
    shutil.rmtree(folder)
    sample = YouTubeVOSDataset(root)[0]
    assert (sample.annotated, sample.hint_frames, len(sample.objects)) == ((), {}, 3)


def test_all_frames(root: Path) -> None:
    folder = root / "valid_all_frames/JPEGImages/003234408d"
    shutil.copytree(root / "valid/JPEGImages/003234408d", folder)
    shutil.copy(folder / "00005.png", folder / "00007.png")
    sample = YouTubeVOSDataset(root, all_frames=True)[0]
    assert sample.frame_names == ("00000", "00005", "00007", "00010", "00015")
    assert sample.annotated == (0, 1, 3, 4)
    assert sample.hint_frames == {1: 0, 2: 0, 7: 3}
    assert sample.fps == 30
    shutil.rmtree(folder.parents[1])
    with pytest.raises(FileNotFoundError, match="found none of valid_all_frames/JPEGImages"):
        YouTubeVOSDataset(root, all_frames=True)


def test_an_object_without_a_category(root: Path) -> None:
    edit_meta(root, lambda v: v["objects"].pop("2"))
    dataset = YouTubeVOSDataset(root)
    with pytest.raises(
        ValueError,
        match=r"00000\.png: holds the object ids \[2\], which .*meta\.json does not",
    ):
        dataset[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v.pop("objects"), "video '003234408d': the field 'objects' is missing"),
        (lambda v: v.update(objects=[1]), "'objects' must be of type dict, got list"),
        (lambda v: v["objects"].update(one={}), "expected a whole number, got 'one'"),
        (lambda v: v["objects"].update({"2": 5}), "object '2' must be an object, got 5"),
    ],
)
def test_a_broken_meta_file(root: Path, change: Any, message: str) -> None:
    edit_meta(root, change)
    with pytest.raises(ValueError, match=rf"valid/meta\.json: .*{message}"):
        YouTubeVOSDataset(root)


def test_a_missing_or_torn_meta_file(root: Path) -> None:
    path = root / "valid/meta.json"
    path.write_text(path.read_text()[:30])
    with pytest.raises(ValueError, match=r"valid/meta\.json: not readable as JSON .*line 1"):
        YouTubeVOSDataset(root)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"valid/meta\.json: no such file"):
        YouTubeVOSDataset(root)


def test_missing_frames(root: Path) -> None:
    dataset = YouTubeVOSDataset(root)
    frame = root / "valid/JPEGImages/003234408d/00010.png"
    sample = dataset[0]
    frame.unlink()
    with pytest.raises(FileNotFoundError, match=r"003234408d/00010\.png"):
        sample.read_frame(2)
    with pytest.raises(FileNotFoundError, match=r"00010\.png: the frame 00010 .* is missing in"):
        dataset[0]
    shutil.rmtree(frame.parent)
    with pytest.raises(FileNotFoundError, match="003234408d"):
        dataset[0]
