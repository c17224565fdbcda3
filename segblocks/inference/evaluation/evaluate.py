"""A model, or what it predicted, against a dataset; resumable video by video."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn
from tqdm.auto import tqdm

from segblocks import __version__
from segblocks._files import expand
from segblocks.data.dataset import VideoDataset
from segblocks.data.sample import VideoSample
from segblocks.inference.evaluation.metrics import MetricFactory, choose_metrics
from segblocks.inference.evaluation.records import (
    CSV_FILE,
    METRICS_FILE,
    TABLE_FILE,
    EvaluationFolder,
)
from segblocks.inference.evaluation.report import Evaluation
from segblocks.inference.evaluation.source import ModelSource, SavedSource, Source
from segblocks.results import VideoSegmentation

_COUNTED = ("frames", "annotated_frames", "objects")


def evaluate(
    dataset: VideoDataset,
    model: nn.Module | None = None,
    predictions: str | os.PathLike[str] | None = None,
    *,
    out: str | os.PathLike[str],
    metrics: Sequence[str | MetricFactory] | None = None,
    limit: int | None = None,
    shard: tuple[int, int] = (0, 1),
    restart: bool = False,
    progress: bool = False,
    about: Mapping[str, Any] | None = None,
    **settings: Any,
) -> Evaluation:
    """Measure how well a model, or predictions that lie on disk, do on a dataset.

    Each video is segmented as the benchmark wants it (see `task_of`), judged and written to
    ``out`` before the next is read, so that memory does not grow, and the same call takes up an
    interrupted evaluation where it was. In ``out`` lie then ``predictions/<video>`` (what
    ``VideoSegmentation.save`` writes), ``records/<video>.json``, and, when all videos are done,
    ``metrics.json``, ``per_video.csv`` and ``table.txt``.

    Args:
        dataset: such as of `open_dataset`. Videos without annotation are only segmented.
        model: of the zoo, or one that does the same.
        predictions: instead of a model, what `open_predictions` takes.
        out: folder of this evaluation.
        metrics: of `metrics_for`, by class name ("JAndF") or main number ("J&F"), or what makes
            them; None takes those of the dataset.
        limit: only so many videos, the first ones.
        shard: (i, n) works on every n-th video from the i-th, counted from 0; processes with all i
            may share ``out``. Whichever ends last writes the numbers, and so does a call without.
        restart: forget what is in ``out``.
        progress: show a progress bar.
        about: what else makes out this run, such as the root of the dataset; plain values, stored,
            and compared when an evaluation is taken up.
        settings: of :func:`segblocks.segment`: ``clip_length``, ``overlap``, ``short_side``,
            ``device`` or ``official_compat``.

    Returns:
        The numbers of all videos that are done.

    Raises:
        ValueError: not one of model and predictions; a model that cannot do the dataset's task; an
            unknown metric; or ``out`` belongs to a run with other settings.
        FileNotFoundError: there is no such prediction.

    Example:
        >>> from segblocks import create_model
        >>> from segblocks.data import open_dataset
        >>> davis = open_dataset("davis2017", "DAVIS")  # doctest: +SKIP
        >>> model = create_model("tarvis_resnet50", checkpoint="w.pth")  # doctest: +SKIP
        >>> evaluate(davis, model, out="runs/davis").score  # doctest: +SKIP
        0.812
    """
    factories = choose_metrics(dataset, metrics)
    selected = _select(dataset, limit)
    own = _own_part(selected, shard)
    if restart and shard[1] > 1:
        raise ValueError("evaluate: restart would remove what the other shards have done")
    place = expand(out)
    source = _open_source(dataset, model, predictions, place, settings)
    run = {
        "segblocks": __version__,
        "dataset": _describe(dataset),
        **source.run,
        "metrics": {name: make().state_dict()["settings"] for name, make in factories.items()},
        "about": dict(about or {}),
    }
    folder = EvaluationFolder(place, run, worker=f"{shard[0]} of {shard[1]}")
    folder.begin(restart=restart)
    folder.sweep([dataset.names[index] for index in own], alone=shard[1] == 1)
    with tqdm(total=len(own), unit="video", disable=not progress) as bar:
        for index in own:
            bar.set_postfix_str(dataset.names[index])
            _do(dataset, index, source, factories, folder)
            bar.update()
    evaluation = _gather(dataset, selected, factories, folder)
    if not evaluation.missing:
        folder.write_text(CSV_FILE, evaluation.csv())
        folder.write_text(TABLE_FILE, f"{evaluation.table()}\n")
        content = json.dumps(evaluation.as_json(), indent=1, allow_nan=False)
        folder.write_text(METRICS_FILE, f"{content}\n")
    folder.finish()
    return evaluation


def _open_source(
    dataset: VideoDataset,
    model: nn.Module | None,
    predictions: str | os.PathLike[str] | None,
    out: Path,
    settings: Mapping[str, Any],
) -> Source:
    if (model is None) == (predictions is None):
        raise ValueError("evaluate: give either a model or predictions")
    given = {name: value for name, value in settings.items() if value is not None}
    if model is not None:
        return ModelSource(model, dataset, given.pop("device", None), given)
    if given:
        raise ValueError(f"evaluate: {', '.join(given)} mean nothing without a model")
    assert predictions is not None
    return SavedSource(expand(predictions), dataset, out)


def _do(
    dataset: VideoDataset,
    index: int,
    source: Source,
    factories: Mapping[str, MetricFactory],
    folder: EvaluationFolder,
) -> None:
    """Judge a video, unless that is done already."""
    name = dataset.names[index]
    record = folder.record(name)
    if record is not None and source.is_model:
        return
    sample = dataset[index]
    stamp = source.stamp(sample)
    if record is not None and record["stamp"] == stamp:
        return
    result = source.predict(sample)
    fresh = {
        "video": name,
        "frames": sample.num_frames,
        "annotated_frames": len(sample.annotated),
        "objects": sum(not info.is_crowd for info in sample.objects),
        "stamp": stamp,
        "made_with": source.made_with,
        "states": _judge(sample, result, factories) if result and sample.annotated else None,
    }
    kept = result if source.is_model else None
    folder.store(name, fresh, kept, _submission_names(sample, dataset.task))


def _judge(
    sample: VideoSample, result: VideoSegmentation, factories: Mapping[str, MetricFactory]
) -> dict[str, Any]:
    """The states of metrics that have seen this video alone."""
    states = {}
    for name, make in factories.items():
        metric = make()
        metric.update(sample, result)
        states[name] = metric.state_dict([sample.name])
    return states


def _submission_names(sample: VideoSample, kind: str) -> dict[str, Any]:
    """What `save_result` is to call a video in the files that are for submission."""
    part, _, name = sample.name.rpartition("/")
    if kind == "pet":
        return {"video_id": name, "dataset": part or None}
    if kind == "vps":
        return {"video_id": sample.name}
    return {"video_id": sample.attributes.get("video_id")} if kind == "vis" else {}


def _gather(
    dataset: VideoDataset,
    selected: Iterable[int],
    factories: Mapping[str, MetricFactory],
    folder: EvaluationFolder,
) -> Evaluation:
    """Put the records of all videos together, in the order of the dataset."""
    metrics = {name: make() for name, make in factories.items()}
    counts: dict[str, int] = dict.fromkeys(("videos", "judged", *_COUNTED), 0)
    missing: list[str] = []
    made_with: dict[str, Any] = {}
    for index in selected:
        video = dataset.names[index]
        counts["videos"] += 1
        record = folder.record(video)
        if record is None:
            missing.append(video)
            continue
        counts["judged"] += record["states"] is not None
        for what in _COUNTED:
            counts[what] += record[what]
        made_with[json.dumps(record["made_with"], sort_keys=True)] = record["made_with"]
        for name, state in (record["states"] or {}).items():
            metrics[name].load_state_dict(state)
    by_metric = {name: metric.per_video() for name, metric in metrics.items()}
    judged = next(iter(metrics.values())).videos
    per_video = {v: {name: found[v] for name, found in by_metric.items()} for v in judged}
    return Evaluation(
        dataset.name,
        {name: metric.compute() for name, metric in metrics.items()},
        per_video,
        counts,
        tuple(missing),
        folder.out,
        folder.run | {"made_with": [made_with[key] for key in sorted(made_with)]},
    )


def _select(dataset: VideoDataset, limit: int | None) -> range:
    if limit is not None and limit < 1:
        raise ValueError(f"evaluate: limit must be at least 1, got {limit}")
    if len(set(dataset.names)) != len(dataset.names):
        raise ValueError(f"evaluate: {dataset.name} has two videos of one name")
    return range(len(dataset) if limit is None else min(limit, len(dataset)))


def _own_part(selected: range, shard: tuple[int, int]) -> range:
    part, parts = shard
    if not 0 <= part < parts:
        raise ValueError(f"evaluate: shard must be (i, n) with 0 <= i < n, got {shard}")
    return selected[part::parts]


def _describe(dataset: VideoDataset) -> dict[str, Any]:
    names = hashlib.sha256("\n".join(dataset.names).encode()).hexdigest()
    return {
        "name": dataset.name,
        "task": dataset.task,
        "videos": len(dataset.names),
        "names_sha256": names,
    }
