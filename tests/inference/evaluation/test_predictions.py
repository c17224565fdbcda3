"""Predictions on disk: our folders, and the files that benchmarks take."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from segblocks.data import VideoDataset, list_datasets, open_dataset
from segblocks.data.mose import write_mose
from segblocks.inference.evaluation.evaluate import evaluate
from segblocks.inference.evaluation.predictions import (
    ResultFolders,
    open_predictions,
    video_place,
    write_submission,
)
from segblocks.inference.evaluation.submissions import SUBMISSIONS
from segblocks.label_files import id_to_rgb, read_pixels, rgb_to_id
from tests.inference.evaluation.evaluated import made_dataset, perfect, save_predictions, shifted


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def main_numbers(found: Any) -> list[float]:
    return [next(iter(numbers.values())) for numbers in found.summary.values()]


@pytest.mark.parametrize("name", SUBMISSIONS)
def test_perfect_submission_scores_one(name: str, tmp_path: Path) -> None:
    dataset = made_dataset(name, tmp_path / "data", 2)
    saved = save_predictions(dataset, tmp_path / "saved", perfect)
    submission = write_submission(dataset, saved, tmp_path / "submission")
    found = evaluate(dataset, predictions=submission, out=tmp_path / "out")
    assert found.counts["judged"] == 2
    numbers = main_numbers(found)
    if name == "vspw":  # the videos are too short for the windows of mVC
        assert np.isnan(numbers.pop())
    assert numbers == pytest.approx([1.0] * len(numbers))


@pytest.mark.parametrize("name", SUBMISSIONS)
def test_submission_survives_a_round_trip(name: str, tmp_path: Path) -> None:
    dataset = made_dataset(name, tmp_path / "data", 2)
    saved = save_predictions(dataset, tmp_path / "saved", shifted)
    first = write_submission(dataset, saved, tmp_path / "first")
    again = write_submission(dataset, first, tmp_path / "again")
    assert contents(first) == contents(again)
    assert contents(first)
    ours = evaluate(dataset, predictions=saved, out=tmp_path / "ours")
    theirs = evaluate(dataset, predictions=first, out=tmp_path / "theirs")
    if name != "uvo":  # whose metric lets candidates overlap, while records never do
        assert repr(theirs.summary) == repr(ours.summary)
    assert 0 < theirs.score < 1


def test_ids_above_255(tmp_path: Path) -> None:
    sample = made_dataset("mose", tmp_path / "few", 1)[0]
    new = {info.id: 100 * info.id + 57 for info in sample.objects}

    def read(t: int) -> Any:
        truth = sample.read_truth(t)
        return replace(truth, ids=tuple(new[i] for i in truth.ids))

    many = replace(
        sample,
        objects=tuple(replace(o, id=new[o.id]) for o in sample.objects),
        hint_frames={new[i]: t for i, t in sample.hint_frames.items()},
        read_truth=read,
    )
    write_mose([many], tmp_path / "data")
    dataset = open_dataset("mose", tmp_path / "data")
    saved = save_predictions(dataset, tmp_path / "saved", perfect)
    submission = write_submission(dataset, saved, tmp_path / "submission")
    found = evaluate(dataset, predictions=submission, out=tmp_path / "out")
    assert found.score == 1
    tracks = open_predictions(submission, dataset).read(dataset[0]).tracks
    assert sorted(track.id for track in tracks) == sorted(new.values())


@pytest.mark.parametrize("name", ["vipseg", "cityscapes_vps"])
def test_panoptic_ids_of_other_tools(name: str, tmp_path: Path) -> None:
    """Their segments have any numbers, of stuff too, and the score is the same."""
    dataset = made_dataset(name, tmp_path / "data", 2)
    saved = save_predictions(dataset, tmp_path / "saved", shifted)
    theirs = write_submission(dataset, saved, tmp_path / "theirs")
    ours = evaluate(dataset, predictions=theirs, out=tmp_path / "ours")
    rng = np.random.default_rng(0)
    table = np.concatenate([[0], 1 + rng.permutation(600)])
    for path in (theirs / "pan_pred").rglob("*.png"):
        ids = table[rgb_to_id(read_pixels(path))]
        Image.fromarray(id_to_rgb(ids)).save(path)
    content = json.loads((theirs / "pred.json").read_text())

    def renumber(record: Any) -> None:
        for segment in record.get("segments_info", ()):
            segment["id"] = int(table[segment["id"]])
        for inner in record.get("annotations", ()):
            renumber(inner)

    renumber(content)
    (theirs / "pred.json").write_text(json.dumps(content))
    other = evaluate(dataset, predictions=theirs, out=tmp_path / "other")
    for metric, numbers in ours.summary.items():
        assert other.summary[metric] == pytest.approx(numbers, nan_ok=True)


def test_names_of_videos_are_names_of_files(tmp_path: Path) -> None:
    assert video_place(tmp_path, "part/clip.1 a") == tmp_path / "part%2Fclip.1 a"
    assert video_place(tmp_path, "../../etc").parent == tmp_path
    for name in ("..", "."):
        with pytest.raises(ValueError, match="cannot be called"):
            video_place(tmp_path, name)


def test_datasets_without_a_submission_format_take_folders(tmp_path: Path) -> None:
    without = sorted(set(list_datasets()) - set(SUBMISSIONS))
    assert without == [
        "ade20k",
        "cityscapes",
        "coco_instances",
        "coco_panoptic",
        "mapillary",
        "ref_davis17",
    ]
    dataset = made_dataset("coco_panoptic", tmp_path / "data", 1)
    saved = save_predictions(dataset, tmp_path / "saved", perfect)
    assert isinstance(open_predictions(saved, dataset), ResultFolders)
    assert evaluate(dataset, predictions=saved, out=tmp_path / "out").score == 1
    with pytest.raises(ValueError, match="no submission format is known for 'coco_panoptic'"):
        write_submission(dataset, saved, tmp_path / "submission")


@pytest.fixture
def davis(tmp_path: Path) -> VideoDataset:
    return made_dataset("davis2017", tmp_path / "data", 2)


def test_wrong_folders_are_named(davis: VideoDataset, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such folder of predictions"):
        open_predictions(tmp_path / "nowhere", davis)
    (tmp_path / "other" / "stranger").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match=r"other: holds no predictions for davis2017.*str"):
        open_predictions(tmp_path / "other", davis)
    vis = made_dataset("ovis", tmp_path / "vis", 1)
    with pytest.raises(FileNotFoundError, match=r"expected results\.json"):
        open_predictions(tmp_path / "other", vis)
    saved = save_predictions(davis, tmp_path / "saved", perfect)
    (tmp_path / "there").mkdir()
    with pytest.raises(FileExistsError, match="is there already"):
        write_submission(davis, saved, tmp_path / "there")


def test_what_is_wrong_with_a_video_is_named(davis: VideoDataset, tmp_path: Path) -> None:
    saved = save_predictions(davis, tmp_path / "saved", perfect)
    root = write_submission(davis, saved, tmp_path / "submission")
    sample = davis[0]
    predictions = open_predictions(root, davis)
    picture = root / sample.name / "00002.png"
    good = picture.read_bytes()
    Image.fromarray(np.full(sample.size, 77, np.uint8)).save(picture)
    with pytest.raises(ValueError, match=r"00002\.png: holds the object ids \[77\]"):
        predictions.read(sample)
    Image.fromarray(np.zeros((5, 6), np.uint8)).save(picture)
    with pytest.raises(ValueError, match="48x64"):
        predictions.read(sample)
    picture.unlink()
    with pytest.raises(FileNotFoundError, match=r"00002\.png"):
        predictions.read(sample)
    picture.write_bytes(good)
    # The first frame is given, so nobody needs it.
    (root / sample.name / "00000.png").unlink()
    assert predictions.read(sample).tracks
    shutil.rmtree(root / davis[1].name)
    with pytest.raises(FileNotFoundError, match=davis[1].name):
        evaluate(davis, predictions=root, out=tmp_path / "out")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"category_id": 99}, "category_id 99 is none of"),
        ({"segmentations": [None]}, "one mask or null for each of the 4 frames"),
        ({"score": "high"}, "'score' must be a number"),
        ({"segmentations": [{"size": [2, 2], "counts": [4]}] * 4}, "48x64"),
        ({"segmentations": [{"size": [48, 64], "counts": "!"}] * 4}, "run-length"),
        ({"video_id": "one"}, "video_id"),
    ],
)
def test_broken_records_are_named(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    dataset = made_dataset("ovis", tmp_path / "data", 1)
    saved = save_predictions(dataset, tmp_path / "saved", perfect)
    path = write_submission(dataset, saved, tmp_path / "submission") / "results.json"
    records = json.loads(path.read_text())
    path.write_text(json.dumps([records[0] | change]))
    with pytest.raises(ValueError, match=message):
        open_predictions(path, dataset).read(dataset[0])


def test_burst_names_strangers(tmp_path: Path) -> None:
    dataset = made_dataset("burst", tmp_path / "data", 1)
    saved = save_predictions(dataset, tmp_path / "saved", perfect)
    path = write_submission(dataset, saved, tmp_path / "submission") / "burst.json"
    content = json.loads(path.read_text())
    frames = content["sequences"][0]["segmentations"]
    frames[1]["77"] = next(iter(frames[1].values()))
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"holds the object ids \[77\]"):
        open_predictions(path, dataset).read(dataset[0])
    content["sequences"][0]["seq_name"] = "another"
    path.write_text(json.dumps(content))
    with pytest.raises(FileNotFoundError, match="no prediction for the video 'made/"):
        open_predictions(path, dataset).read(dataset[0])
