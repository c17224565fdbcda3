"""Run several predictors over videos, and measure them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tqdm.auto import tqdm

from benchmarks.learning.baselines import Predict
from segblocks.data import VideoSample
from segblocks.data.synthetic import SyntheticWorld
from segblocks.inference import task_of
from segblocks.metrics import VideoMetric
from segblocks.tasks import Task

# Task -> metric -> the numbers of it that are shown.
Judged = Mapping[str, Mapping[type[VideoMetric], Sequence[str]]]


@dataclass(frozen=True)
class Judgement:
    """Hold what a predictor reached.

    Args:
        summary: metric -> name -> number over all videos.
        per_video: video -> metric -> name -> number.
        frames_per_second: over all videos, without reading or drawing them.
    """

    summary: dict[str, dict[str, float]]
    per_video: dict[str, dict[str, dict[str, float]]]
    frames_per_second: float


def as_json(judged: Mapping[str, Mapping[str, Judgement]]) -> dict[str, Any]:
    """Return plain values."""
    return {
        one: {other: vars(found) for other, found in by_other.items()}
        for one, by_other in judged.items()
    }


def judge(
    predict: Predict,
    videos: Iterable[tuple[VideoSample, Task]],
    metrics: Sequence[Callable[[], VideoMetric]],
    *,
    name: str = "",
) -> Judgement:
    """Measure a predictor.

    Args:
        predict: the predictor.
        videos: with what is asked of each.
        metrics: what makes them.
        name: for the progress bar.
    """
    made = [make() for make in metrics]
    frames, seconds = 0, 0.0
    for sample, task in tqdm(videos, desc=name, unit="video", leave=False):
        start = time.perf_counter()
        result = predict(sample, task)
        seconds += time.perf_counter() - start
        frames += sample.num_frames
        for metric in made:
            metric.update(sample, result)
    by_metric = {type(metric).__name__: metric for metric in made}
    per_video: dict[str, dict[str, dict[str, float]]] = {}
    for metric_name, metric in by_metric.items():
        for video, numbers in metric.per_video().items():
            per_video.setdefault(video, {})[metric_name] = numbers
    summary = {metric_name: metric.compute() for metric_name, metric in by_metric.items()}
    return Judgement(summary, per_video, frames / max(seconds, 1e-9))


def judge_all(
    predictors: Mapping[str, Predict],
    videos: Sequence[tuple[VideoSample, Task]],
    metrics: Sequence[Callable[[], VideoMetric]],
) -> dict[str, Judgement]:
    """Measure several predictors on the same videos."""
    return {
        name: judge(predict, videos, metrics, name=name) for name, predict in predictors.items()
    }


def asked(world: SyntheticWorld, kind: str) -> list[tuple[VideoSample, Task]]:
    """Return the videos of a world that the task asks something of, with the task."""
    pairs = ((sample, task_of(sample, kind)) for sample in world)
    return [(sample, task) for sample, task in pairs if task is not None]


def columns_of(predict: Predict, world: SyntheticWorld, judged: Judged) -> dict[str, float]:
    """Return the shown numbers of all tasks, such as "VIS AP".

    Args:
        predict: the predictor.
        world: its videos.
        judged: what is shown of which task.
    """
    found = {}
    for kind, metrics in judged.items():
        summary = judge(predict, asked(world, kind), list(metrics)).summary
        for metric, names in metrics.items():
            for name in names:
                found[f"{kind.upper()} {name}"] = summary[metric.__name__][name]
    return found
