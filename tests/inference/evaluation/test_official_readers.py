"""Submissions as the benchmarks' own tools read them."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from segblocks.data import VideoDataset, open_dataset
from segblocks.inference.evaluation.predictions import write_submission
from segblocks.ops.rle import from_coco
from tests.inference.evaluation.evaluated import made_dataset, perfect, save_predictions, shifted


def submit(name: str, folder: Path, make: Any) -> VideoDataset:
    """Write a submission for a dataset into ``folder/submission``."""
    dataset = made_dataset(name, folder / "data", 2)
    saved = save_predictions(dataset, folder / "saved", make)
    write_submission(dataset, saved, folder / "submission")
    return dataset


def track_eval(kind: str, config: dict[str, Any], hota: str = "HOTA") -> dict[str, float]:
    """Let TrackEval read everything; the metric of each sequence and class with annotations."""
    datasets = pytest.importorskip("trackeval.datasets")
    metrics = pytest.importorskip("trackeval.metrics")
    with contextlib.redirect_stdout(io.StringIO()):
        data = getattr(datasets, kind)({"PRINT_CONFIG": False, **config})
        metric = metrics.HOTA()
        found = {}
        for sequence in data.seq_list:
            raw = data.get_raw_seq_data(data.tracker_list[0], sequence)
            for name in data.class_list:
                prepared = data.get_preprocessed_seq_data(raw, name)
                if prepared["num_gt_dets"]:
                    result = metric.eval_sequence(prepared)
                    found[f"{sequence}/{name}"] = float(np.mean(result[hota]))
    return found


@pytest.mark.parametrize("make", [perfect, shifted])
def test_track_eval_reads_davis(make: Any, tmp_path: Path) -> None:
    dataset = submit("davis2017", tmp_path, make)
    shutil.move(tmp_path / "submission", tmp_path / "trackers" / "ours" / "data")
    config = {
        "GT_FOLDER": str(tmp_path / "data" / "Annotations" / "480p"),
        "TRACKERS_FOLDER": str(tmp_path / "trackers"),
        "SEQ_INFO": {name: dataset[i].num_frames for i, name in enumerate(dataset.names)},
    }
    found = track_eval("DAVIS", config)
    assert len(found) == 2
    for value in found.values():
        assert value == 1 if make is perfect else 0 < value < 1


@pytest.mark.parametrize("make", [perfect, shifted])
def test_track_eval_reads_youtube_vis(make: Any, tmp_path: Path) -> None:
    submit("youtube_vis_2021", tmp_path, make)
    truth = tmp_path / "gt" / "youtube_vis_val"
    truth.mkdir(parents=True)
    content = json.loads((tmp_path / "data" / "valid" / "instances.json").read_text())
    for track in content["annotations"]:
        # The official file has plain run lengths, and the tool reads no others there.
        found = [None if s is None else from_coco(s).counts for s in track["segmentations"]]
        track["segmentations"] = [
            None if counts is None else {"size": [48, 64], "counts": counts.tolist()}
            for counts in found
        ]
    (truth / "instances.json").write_text(json.dumps(content))
    place = tmp_path / "trackers" / "youtube_vis_val" / "ours" / "data"
    shutil.move(tmp_path / "submission", place)
    config = {
        "GT_FOLDER": f"{tmp_path / 'gt'}/",
        "TRACKERS_FOLDER": f"{tmp_path / 'trackers'}/",
        "SPLIT_TO_EVAL": "val",
    }
    found = track_eval("YouTubeVIS", config)
    assert len(found) >= 2
    for value in found.values():
        assert value == 1 if make is perfect else 0 <= value < 1


def test_burst_tool_converts_predictions(tmp_path: Path) -> None:
    converters = pytest.importorskip("trackeval.datasets.burst_helpers.format_converter")
    made_dataset("burst", tmp_path / "data", 2)
    # The official sequences are not counted from 0 in each split.
    for path in (tmp_path / "data/annotations/val").iterdir():
        content = json.loads(path.read_text())
        for sequence in content["sequences"]:
            sequence["id"] += 7
        path.write_text(json.dumps(content))
    dataset = open_dataset("burst", tmp_path / "data")
    saved = save_predictions(dataset, tmp_path / "saved", perfect)
    write_submission(dataset, saved, tmp_path / "submission")
    truth = json.loads((tmp_path / "data/annotations/val/all_classes.json").read_text())
    ours = json.loads((tmp_path / "submission" / "burst.json").read_text())
    given = converters.GroundTruthBURSTFormatToTAOFormatConverter(truth).convert()
    tool = converters.PredictionBURSTFormatToTAOFormatConverter(given, ours, exemplar_guided=True)
    tracks = tool.convert()
    shown = sum(len(dataset[i].read_truth(t).ids) for i in range(2) for t in dataset[i].annotated)
    assert len(tracks) == shown == len(given["annotations"])
    owner = {annotation["image_id"]: set() for annotation in given["annotations"]}
    for annotation in given["annotations"]:
        owner[annotation["image_id"]].add(annotation["track_id"])
    assert all(track["track_id"] in owner[track["image_id"]] for track in tracks)


@pytest.mark.parametrize("name", ["vipseg", "cityscapes_vps"])
def test_panoptic_files_are_those_that_the_tools_open(name: str, tmp_path: Path) -> None:
    """VIPSeg's and Cityscapes-VPS' tools walk the truth and want equal ids in PNG and JSON."""
    submit(name, tmp_path, shifted)
    root = tmp_path / "submission"
    truth = json.loads(next((tmp_path / "data").glob("panoptic_gt_*.json")).read_text())
    ours = json.loads((root / "pred.json").read_text())["annotations"]
    frames = []
    if name == "vipseg":
        by_video = {video["video_id"]: video["annotations"] for video in ours}
        for video in truth["videos"]:
            found = by_video[video["video_id"]]
            assert len(found) == len(video["images"])
            for image, record in zip(video["images"], found, strict=True):
                place = root / "pan_pred" / video["video_id"] / image["file_name"]
                frames.append((place, record))
    else:
        for image, record in zip(truth["images"], ours, strict=True):
            frames.append((root / "pan_pred" / f"{image['id']}.png", record))
    categories = {category["id"] for category in truth["categories"]}
    for path, record in frames:
        colors = np.array(Image.open(path)).astype(np.uint32)
        ids = colors @ np.array([1, 256, 65536], np.uint32)
        segments = {segment["id"]: segment for segment in record["segments_info"]}
        assert set(np.unique(ids).tolist()) - {0} == set(segments)
        for number, segment in segments.items():
            assert segment["area"] == np.count_nonzero(ids == number)
            assert segment["category_id"] in categories
