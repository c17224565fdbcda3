"""BURST is read as it is written: sparse annotations, points, classes, lists of classes."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from segblocks.data.burst import BURSTDataset, write_burst
from segblocks.data.sample import ObjectInfo
from segblocks.text import burst_classes
from segblocks.text.vocabulary import Vocabulary, get_vocabulary
from tests.data.made import assert_same_video, made_video

#: 4 is common, 2 and 7 are not.
THINGS = Vocabulary("burst", ("aerosol", "airplane", "armour"), category_ids=(2, 4, 7))
MADE = replace(
    made_video(
        "LaSOT/bus-7", (1, 2, 9), late={9: 4}, annotated=(0, 2, 4), empty=(2,), num_frames=6,
        vocabulary=THINGS, points=True,
    ),
    fps=30,
    attributes={"negative": (7,), "not_exhaustive": (4,)},
)  # fmt: skip
Record = dict[str, Any]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_burst([MADE, made_video("walk", (1,), vocabulary=THINGS)], tmp_path, suffix=".png")
    return tmp_path


def edit(root: Path, file: str, change: Callable[[Record], Any]) -> None:
    path = root / "annotations/val" / file
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_round_trip(root: Path) -> None:
    dataset = pickle.loads(pickle.dumps(BURSTDataset(root)))
    assert (dataset.name, dataset.task) == ("burst", "pet")
    assert dataset.names == ("LaSOT/bus-7", "made/walk")
    assert dataset.vocabulary == THINGS
    sample = pickle.loads(pickle.dumps(dataset[0]))
    assert_same_video(sample, MADE)
    assert sample.hint_frames == {1: 0, 2: 0, 9: 4}
    assert sample.points == {0: {1: (0, 1), 2: (1, 1)}, 4: {9: (2, 5)}}
    assert sample.fps == 30
    assert dataset[1].points == {}
    assert dataset[1].hint_frames == {1: 0}


def test_a_point_lies_on_its_object(root: Path) -> None:
    sample = BURSTDataset(root)[0]
    for t, points in sample.points.items():
        truth = sample.read_truth(t)
        for number, (x, y) in points.items():
            assert truth.masks[truth.ids.index(number), int(y), int(x)]


def test_what_the_dataset_says(root: Path) -> None:
    sample = BURSTDataset(root)[0]
    assert sample.attributes == {
        "sequence_id": 0,
        "dataset": "LaSOT",
        "negative": (7,),
        "not_exhaustive": (4,),
    }
    assert [info.attributes for info in sample.objects] == [
        {"class_split": "uncommon", "exhaustive": True},
        {"class_split": "common", "exhaustive": False},
        {"class_split": "uncommon", "exhaustive": True},
    ]
    assert len(burst_classes.COMMON) == 78


def test_the_points_say_where_an_object_starts(root: Path) -> None:
    def move(content: Record) -> None:
        content["sequences"][0]["annotated_image_paths"][0] = "00010.png"

    edit(root, "first_frame_annotations.json", move)
    sample = BURSTDataset(root)[0]
    assert sample.hint_frames == {1: 2, 2: 2, 9: 4}
    assert set(sample.points) == {2, 4}


def test_annotated_frames_alone(root: Path) -> None:
    sample = BURSTDataset(root, frames="annotated")[0]
    assert sample.frame_names == ("00000", "00010", "00020")
    assert sample.annotated == (0, 1, 2)
    assert sample.hint_frames == {1: 0, 2: 0, 9: 2}
    assert sample.points == {0: {1: (0, 1), 2: (1, 1)}, 2: {9: (2, 5)}}
    np.testing.assert_array_equal(sample.read_frame(1), MADE.read_frame(2))
    np.testing.assert_array_equal(sample.read_truth(2).masks, MADE.read_truth(4).masks)


def test_the_official_tool_reads_what_is_written(root: Path) -> None:
    name = "trackeval.datasets.burst_helpers.format_converter"
    tool = pytest.importorskip(name).GroundTruthBURSTFormatToTAOFormatConverter
    content = json.loads((root / "annotations/val/all_classes.json").read_text())
    converted = tool(content).convert()
    assert [video["name"] for video in converted["videos"]] == ["val/LaSOT/bus-7", "val/made/walk"]
    assert [image["frame_index"] for image in converted["images"][:3]] == [0, 10, 20]
    boxes = [a["bbox"] for a in converted["annotations"] if a["image_id"] == 2]
    assert boxes == [[0, 4, 1, 2], [1, 4, 1, 2], [2, 4, 1, 2]]


def test_training_has_no_points(tmp_path: Path) -> None:
    write_burst([replace(MADE, points={})], tmp_path, "train", suffix=".png")
    assert (tmp_path / "annotations/train/train.json").is_file()
    assert_same_video(BURSTDataset(tmp_path, split="train")[0], replace(MADE, points={}))


def test_places(root: Path) -> None:
    (root / "annotations/val").rename(root / "val")
    (root / "frames").rename(root / "images")
    assert_same_video(BURSTDataset(root)[0], MADE)


def test_a_track_that_is_never_shown_has_no_hint(root: Path) -> None:
    edit(
        root,
        "all_classes.json",
        lambda c: c["sequences"][0]["track_category_ids"].update({"11": 7}),
    )
    sample = BURSTDataset(root)[0]
    assert [info.id for info in sample.objects] == [1, 2, 9, 11]
    assert set(sample.hint_frames) == {1, 2, 9}


def first(change: Callable[[Record], Any]) -> Callable[[Record], Any]:
    return lambda content: change(content["sequences"][0])


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("all_classes.json", lambda c: c.pop("categories"), "the field 'categories' is missing"),
        ("all_classes.json", first(lambda s: s.pop("seq_name")), "the field 'seq_name' is missing"),
        (
            "all_classes.json",
            first(lambda s: s["track_category_ids"].update({"2": 5})),
            "track_category_ids gives track 2 the category 5, which is not listed",
        ),
        (
            "all_classes.json",
            first(lambda s: s["track_category_ids"].pop("2")),
            r"segmentations of 00000\.png: track 2 has no category",
        ),
        (
            "all_classes.json",
            first(lambda s: s["segmentations"].pop()),
            "2 segmentations for 3 frames",
        ),
        (
            "all_classes.json",
            first(lambda s: s["all_image_paths"].pop(2)),
            r"annotated frames \['00010.png'\] are not in all_image_paths",
        ),
        (
            "all_classes.json",
            first(lambda s: s["segmentations"][0]["1"].pop("rle")),
            "track 1: the field 'rle' is missing",
        ),
        (
            "first_frame_annotations.json",
            first(lambda s: s["segmentations"][0]["1"].pop("point")),
            r"track 1 in 00000\.png: the field 'point' is missing",
        ),
        (
            "first_frame_annotations.json",
            first(lambda s: s["segmentations"].pop()),
            "1 segmentations for 2 frames",
        ),
    ],
)
def test_broken_files(root: Path, file: str, change: Any, message: str) -> None:
    edit(root, file, change)
    with pytest.raises(ValueError, match=message) as error:
        BURSTDataset(root)
    assert f"annotations/val/{file}" in str(error.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            first(lambda s: s["segmentations"][0].update({"8": s["segmentations"][0]["1"]})),
            r"first_frame_annotations\.json: 00000\.png: has a point of track 8, which has no cat",
        ),
        (
            first(lambda s: s["segmentations"][0]["2"].update(point=[1.0, 8])),
            r"the point 1\.0, 8\.0 of track 2 lies outside of the frame of 8x6",
        ),
        (
            first(lambda s: s["segmentations"][0]["2"].update(point=[-0.5, 1])),
            r"the point -0\.5, 1\.0 of track 2 lies outside",
        ),
        (
            first(lambda s: s.update(seq_name="bus-8")),
            r"first_frame_annotations\.json: has points of sequences that all_classes\.json does "
            "not list: LaSOT/bus-8",
        ),
    ],
)
def test_points_of_nothing(root: Path, change: Any, message: str) -> None:
    edit(root, "first_frame_annotations.json", change)
    with pytest.raises(ValueError, match=message):
        BURSTDataset(root)


def test_other_errors(root: Path) -> None:
    with pytest.raises(ValueError, match='frames must be "all" or "annotated", got \'some\''):
        BURSTDataset(root, frames="some")  # type: ignore[arg-type]
    with pytest.raises(FileNotFoundError, match="found none of annotations/test/all_classes"):
        BURSTDataset(root, split="test")
    with pytest.raises(ValueError, match="'LaSOT/bus-7': frame 1 has no annotation"):
        BURSTDataset(root)[0].read_truth(1)
    with pytest.raises(ValueError, match="write_burst: walk has no vocabulary"):
        write_burst([made_video(vocabulary=None)], root, "test")
    unnamed = replace(made_video(), objects=(ObjectInfo(1),))
    with pytest.raises(ValueError, match="walk: every object needs a class"):
        write_burst([unnamed], root, "test")
    other = made_video("run", vocabulary=get_vocabulary("ovis"))
    with pytest.raises(ValueError, match="write_burst: all samples must have one vocabulary, run"):
        write_burst([made_video(), other], root, "test")
    with pytest.raises(ValueError, match="write_burst: there must be at least one sample"):
        write_burst([], root, "test")
    (root / "frames/val/LaSOT/bus-7/00010.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"bus-7/00010\.png"):
        BURSTDataset(root)[0].read_frame(2)
    edit(root, "all_classes.json", first(lambda s: s["segmentations"][0]["2"].update(rle="1")))
    with pytest.raises(ValueError, match="object 2 in frame 0: not a run-length encoded mask"):
        BURSTDataset(root)[0].read_truth(0)
