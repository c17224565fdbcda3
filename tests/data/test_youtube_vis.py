"""YouTube-VIS is read as it is written, in every form of mask and every place of the files."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from segblocks.data.registry import open_dataset
from segblocks.data.sample import ObjectInfo, Truth
from segblocks.data.youtube_vis import OVIS, UVO, YouTubeVISDataset, write_youtube_vis
from segblocks.ops.rle import decode, from_coco
from segblocks.text.vocabulary import get_vocabulary
from tests.data.made import ANIMALS, assert_same_truth, assert_same_video, made_video

MADE = (
    made_video("0a1b", (1, 2, 3), late={3: 2}, empty=(1,), hints=False),
    made_video("other", (1,), hints=False),
)
Record = dict[str, Any]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_youtube_vis(MADE, tmp_path, suffix=".png")
    return tmp_path


def edit(root: Path, change: Callable[[Record], Any]) -> None:
    path = root / "valid/instances.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_round_trip(root: Path) -> None:
    dataset = pickle.loads(pickle.dumps(YouTubeVISDataset(root)))
    assert (dataset.name, dataset.task, dataset.names) == ("youtube_vis", "vis", ("0a1b", "other"))
    assert dataset.vocabulary.classes == ANIMALS.classes
    assert dataset.vocabulary.category_ids == (3, 7, 8)
    for read, made in zip(dataset, MADE, strict=True):
        assert_same_video(pickle.loads(pickle.dumps(read)), made)
    assert [sample.attributes["video_id"] for sample in dataset] == [1, 2]
    assert dataset[1].objects[0].attributes == {"annotation_id": 4}


def test_videos_that_share_a_folder(root: Path) -> None:
    edit(root, lambda c: c["videos"][1].update(file_names=[f"0a1b/{t}.png" for t in range(4)]))
    assert YouTubeVISDataset(root).names == ("0a1b", "0a1b/0")
    edit(root, lambda c: c["videos"][1].update(file_names=[f"{t}.png" for t in range(4)]))
    assert YouTubeVISDataset(root).names == ("0a1b", "0")
    edit(root, lambda c: c["videos"][1].update(c["videos"][0] | {"id": 2}))
    assert YouTubeVISDataset(root).names == ("0a1b", "0a1b/00000")
    edit(root, lambda c: c["videos"].append(c["videos"][0] | {"id": 3}))
    with pytest.raises(ValueError, match=r"videos\[2\]: the video 3 \('0a1b/00000'\) is listed"):
        YouTubeVISDataset(root)


def test_crowds_and_occlusion_survive(tmp_path: Path) -> None:
    attributes = {"occlusion": ("no_occlusion", None, "severe_occlusion", "slight_occlusion")}
    marked = replace(MADE[1], objects=(ObjectInfo(1, 2, True, attributes),))
    write_youtube_vis([marked], tmp_path)
    (info,) = YouTubeVISDataset(tmp_path)[0].objects
    assert info == ObjectInfo(1, 2, True, {"annotation_id": 1} | attributes)


def test_objects_that_overlap(tmp_path: Path) -> None:
    whole = np.ones((2, *MADE[0].size), np.bool_)
    truth = Truth((1, 2), whole)
    both = replace(MADE[0], objects=MADE[0].objects[:2], read_truth=lambda t: truth)
    write_youtube_vis([both], tmp_path)
    assert_same_truth(YouTubeVISDataset(tmp_path)[0].read_truth(3), truth)


def test_more_than_255_objects(tmp_path: Path) -> None:
    made = made_video("crowd", range(1, 301), hints=False)
    write_youtube_vis([made], tmp_path, suffix=".png")
    assert_same_video(YouTubeVISDataset(tmp_path)[0], made)


def test_plain_run_lengths(root: Path) -> None:
    def unpack(content: Record) -> None:
        for record in content["annotations"]:
            for segment in filter(None, record["segmentations"]):
                segment["counts"] = from_coco(segment).counts.tolist()

    edit(root, unpack)
    dataset = YouTubeVISDataset(root)
    assert_same_video(pickle.loads(pickle.dumps(dataset))[0], MADE[0])
    kept = dataset._videos[0].segments[0][0]["counts"]
    assert isinstance(kept, np.ndarray)
    assert kept.dtype == np.uint32


def test_polygons_are_filled_as_coco_does(root: Path) -> None:
    mask_tools = pytest.importorskip("pycocotools.mask")
    polygons = [[0.5, 0.5, 4.5, 0.5, 4.5, 3.5], [1.0, 4.0, 3.0, 4.0, 3.0, 5.5, 1.0, 5.5]]
    edit(root, lambda c: c["annotations"][0]["segmentations"].__setitem__(0, polygons))
    truth = YouTubeVISDataset(root)[0].read_truth(0)
    parts = mask_tools.frPyObjects(polygons, *MADE[0].size)
    np.testing.assert_array_equal(truth.masks[0], mask_tools.decode(mask_tools.merge(parts)) > 0)
    np.testing.assert_array_equal(truth.masks[1], MADE[0].read_truth(0).masks[1])


def test_masks_without_a_pixel_are_absent(root: Path) -> None:
    height, width = MADE[0].size
    empty = {"size": [height, width], "counts": [height * width]}
    edit(root, lambda c: c["annotations"][0]["segmentations"].__setitem__(0, empty))
    edit(root, lambda c: c["annotations"][1]["segmentations"].__setitem__(0, []))
    sample = YouTubeVISDataset(root)[0]
    assert sample.read_truth(0).ids == ()
    assert len(sample.objects) == 3


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c.pop("annotations"),
        lambda c: c.update(annotations=None),
        lambda c: c.update(annotations=[]),
    ],
)
def test_hidden_annotations(root: Path, change: Callable[[Record], Any]) -> None:
    edit(root, change)
    sample = YouTubeVISDataset(root)[0]
    assert (sample.annotated, sample.objects, sample.num_frames) == ((), (), 4)
    with pytest.raises(ValueError, match="frame 0 has no annotation"):
        sample.read_truth(0)


def test_hidden_annotations_are_written_as_such(tmp_path: Path) -> None:
    write_youtube_vis([replace(MADE[0], annotated=())], tmp_path, "test")
    assert "annotations" not in json.loads((tmp_path / "test/instances.json").read_text())
    assert YouTubeVISDataset(tmp_path, split="test")[0].annotated == ()


@pytest.mark.parametrize(
    ("layout", "file", "folder"),
    [
        (None, "valid.json", "valid/JPEGImages"),
        (None, "val.json", "val"),
        (OVIS, "annotations_valid.json", "valid"),
        (OVIS, "annotations/annotations_valid.json", "Images/valid"),
        (UVO, "VideoDenseSet/UVO_video_val_dense_with_label.json", "uvo_videos_dense_frames"),
    ],
)
def test_places(root: Path, layout: Any, file: str, folder: str) -> None:
    new = root / "new"
    (new / file).parent.mkdir(parents=True, exist_ok=True)
    (root / "valid/instances.json").rename(new / file)
    (new / folder).parent.mkdir(parents=True, exist_ok=True)
    (root / "valid/JPEGImages").rename(new / folder)
    options = {} if layout is None else {"layout": layout}
    assert_same_video(YouTubeVISDataset(new, **options)[0], MADE[0])


def test_places_given(root: Path) -> None:
    dataset = YouTubeVISDataset(
        root / "nowhere",
        annotation_file=root / "valid/instances.json",
        frames_folder=root / "valid/JPEGImages",
    )
    assert_same_video(dataset[1], MADE[1])


@pytest.mark.parametrize("name", ["youtube_vis_2019", "youtube_vis_2021"])
def test_official_vocabularies(tmp_path: Path, name: str) -> None:
    made = made_video("a", (1, 2), vocabulary=get_vocabulary(name), hints=False)
    write_youtube_vis([made], tmp_path, suffix=".png")
    dataset = open_dataset(name, tmp_path)
    assert (dataset.name, dataset.vocabulary) == (name, get_vocabulary(name))
    assert_same_video(dataset[0], made)


def test_uvo_has_gaps_between_its_category_ids(tmp_path: Path) -> None:
    vocabulary = get_vocabulary("uvo")
    last = replace(MADE[1], objects=(ObjectInfo(1, vocabulary.index("other")),))
    write_youtube_vis([replace(last, vocabulary=vocabulary)], tmp_path)
    records = json.loads((tmp_path / "valid/instances.json").read_text())["annotations"]
    assert records[0]["category_id"] == 91
    assert open_dataset("uvo", tmp_path)[0].objects[0].label == vocabulary.index("other")


def test_classes_that_are_not_those_of_the_vocabulary(root: Path) -> None:
    with pytest.raises(
        ValueError, match=r"1 of 3 categories are what ovis calls them: .*'dog', 'owl'"
    ):
        open_dataset("ovis", root)
    assert open_dataset("ovis", root, vocabulary=None).vocabulary.name == "ovis"


def test_what_is_written_is_what_coco_reads(root: Path) -> None:
    content = json.loads((root / "valid/instances.json").read_text())
    assert content["videos"][0]["file_names"][1] == "0a1b/00005.png"
    record = content["annotations"][2]
    assert record["segmentations"][:2] == record["bboxes"][:2] == record["areas"][:2] == [None] * 2
    assert record["bboxes"][2] == [2, 2, 1, 2]
    assert record["areas"][2] == 2
    mask = decode(from_coco(record["segmentations"][2]))
    np.testing.assert_array_equal(mask, MADE[0].read_truth(2).masks[2])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.pop("videos"), "the field 'videos' is missing"),
        (lambda c: c.update(videos={}), "'videos' must be of type list, got dict"),
        (lambda c: c["videos"][1].pop("height"), r"videos\[1\]: the field 'height' is missing"),
        (lambda c: c["videos"][1].update(width="6"), "'width' must be of type int, got str"),
        (lambda c: c["videos"][0].update(file_names=[]), "must list at least one file"),
        (lambda c: c["videos"][0].update(id=2), r"videos\[1\]: the video 2 .* is listed twice"),
        (lambda c: c["categories"][0].pop("name"), r"categories\[0\]: the field 'name' is missing"),
        (
            lambda c: c["annotations"][1].update(category_id=9),
            r"annotations\[1\]: the field 'category_id' names 9, which is no category",
        ),
        (
            lambda c: c["annotations"][1].update(video_id=9),
            r"annotations\[1\]: the field 'video_id' names 9, which is no video",
        ),
        (
            lambda c: c["annotations"][1]["segmentations"].pop(),
            r"annotations\[1\]: .* each of the 4 frames of '0a1b', got 3",
        ),
    ],
)
def test_broken_files(root: Path, change: Callable[[Record], Any], message: str) -> None:
    edit(root, change)
    with pytest.raises(ValueError, match=rf"valid/instances\.json: .*{message}|{message}") as error:
        YouTubeVISDataset(root)
    assert "valid/instances.json" in str(error.value)


@pytest.mark.parametrize(
    ("segment", "message"),
    [
        ({"size": [6, 5], "counts": [30]}, r"expected a mask of 6x6 .*, got 6x5"),
        ({"size": [6, 6], "counts": [30]}, "not a run-length encoded mask"),
        ({"size": [6, 6], "counts": [-1, 37]}, "not a run-length encoded mask"),
        ({"size": [6, 6], "counts": "~~"}, "not a run-length encoded mask"),
        ({"counts": [36]}, "not a run-length encoded mask"),
        (7, "not a run-length encoded mask"),
        ([[1.0, 2.0]], "at least three points"),
    ],
)
def test_broken_masks(root: Path, segment: Any, message: str) -> None:
    edit(root, lambda c: c["annotations"][1]["segmentations"].__setitem__(0, segment))
    sample = YouTubeVISDataset(root)[0]
    with pytest.raises(ValueError, match=rf"'0a1b': object 2 in frame 0: .*{message}"):
        sample.read_truth(0)


def test_frames_that_are_missing_or_of_another_size(root: Path) -> None:
    sample = YouTubeVISDataset(root)[0]
    path = root / "valid/JPEGImages/0a1b/00005.png"
    Image.new("RGB", (9, 8)).save(path)
    with pytest.raises(ValueError, match=r"0a1b/00005\.png: expected 6x6 pixels .* got 8x9"):
        sample.read_frame(1)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"0a1b/00005\.png"):
        sample.read_frame(1)


def test_missing_and_torn_files(root: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"found none of train/instances\.json, "):
        YouTubeVISDataset(root, split="train")
    path = root / "valid/instances.json"
    path.write_text(path.read_text()[:99])
    with pytest.raises(ValueError, match=r"valid/instances\.json: not readable as JSON"):
        YouTubeVISDataset(root)


def test_videos_without_an_object_stay_judged(tmp_path: Path) -> None:
    made = made_video("empty", (), hints=False)
    write_youtube_vis([made, MADE[0]], tmp_path / "some", suffix=".png")
    some = YouTubeVISDataset(tmp_path / "some")
    assert [sample.annotated for sample in some] == [made.annotated, MADE[0].annotated]
    write_youtube_vis([made], tmp_path / "none", suffix=".png")
    # A file without a track is what test sets look like.
    assert YouTubeVISDataset(tmp_path / "none")[0].annotated == ()
    sample = YouTubeVISDataset(tmp_path / "none", annotated=True)[0]
    assert_same_video(sample, made)
    hidden = YouTubeVISDataset(tmp_path / "some", annotated=False)[1]
    assert (hidden.annotated, hidden.objects) == ((), ())


def test_what_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="other: object 1 has no class"):
        write_youtube_vis([replace(MADE[1], objects=(ObjectInfo(1),))], tmp_path)
    with pytest.raises(ValueError, match="write_youtube_vis: a has no vocabulary"):
        write_youtube_vis([made_video("a", vocabulary=None)], tmp_path)
    mixed = [MADE[0], replace(MADE[1], vocabulary=get_vocabulary("ovis"))]
    with pytest.raises(ValueError, match="all samples must have one vocabulary, other has"):
        write_youtube_vis(mixed, tmp_path)
    assert not (tmp_path / "valid/instances.json").exists()
