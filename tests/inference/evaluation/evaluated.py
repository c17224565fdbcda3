"""Datasets to evaluate on, and predictions of known quality for them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segblocks.data import VideoDataset, open_dataset
from segblocks.data.davis import write_davis
from segblocks.data.sample import ObjectInfo, Truth, VideoSample
from segblocks.data.synthetic import SyntheticWorld, world_config, write_world
from segblocks.inference.evaluation.predictions import video_place
from segblocks.inference.evaluation.sample_task import task_of
from segblocks.inference.writers import save_result
from segblocks.results import (
    FrameResult,
    TrackSummary,
    VideoSegmentation,
    VideoSegmentationBuilder,
)
from segblocks.text.vocabulary import Vocabulary
from tests import oracle

SQUARES = Vocabulary("squares", ("ground", "one", "two", "three", "four"), {1, 2, 3, 4})
_FRAMES = 14


def made_dataset(name: str, root: Path, count: int = 3) -> VideoDataset:
    """Videos of the synthetic world as one of the official datasets."""
    config = world_config("tiny", things=("star", "ring"), num_frames=4, leave=0.5)
    world = SyntheticWorld(config, seed=6)
    write_world(world, name, root, count=count)
    options: dict[str, Any] = {}
    if name in ("ovis", "uvo", "youtube_vis_2019", "youtube_vis_2021"):
        options["vocabulary"] = None
    if name in ("kitti_step", "vspw"):
        options["vocabulary"] = world.vocabulary
    return open_dataset(name, root, **options)


def squares_sample(number: int) -> VideoSample:
    """A video that `tests.oracle.OracleModel` segments exactly; its square 3 appears late."""
    present = {1: range(_FRAMES), 3: range(3 + number, _FRAMES), 4: range(0, _FRAMES, 2)}
    video = oracle.squares_video(_FRAMES, present=present)
    return VideoSample(
        f"squares{number}",
        _FRAMES,
        (video.shape[1], video.shape[2]),
        video.__getitem__,
        partial(_squares_truth, video),
        tuple(range(_FRAMES)),
        tuple(ObjectInfo(n, n) for n in present),
        SQUARES,
        points={0: _points(video, 0, (1, 4)), 3 + number: _points(video, 3 + number, (3,))},
        hint_frames={1: 0, 3: 3 + number, 4: 0},
        fps=10.0,
    )


def squares_davis(root: Path, count: int = 3) -> VideoDataset:
    """Squares in the layout of DAVIS."""
    write_davis((squares_sample(i) for i in range(count)), root, suffix=".png")
    return open_dataset("davis2017", root)


def save_predictions(
    dataset: VideoDataset, root: Path, make: Callable[[VideoSample, str], VideoSegmentation]
) -> Path:
    """Save what ``make`` predicts for each video as segblocks does."""
    for i in range(len(dataset)):
        sample = dataset[i]
        save_result(make(sample, dataset.task), video_place(root, sample.name))
    return root


def perfect(sample: VideoSample, kind: str) -> VideoSegmentation:
    """The annotation as a prediction."""
    return _predict(sample, kind, np.asarray)


def shifted(sample: VideoSample, kind: str) -> VideoSegmentation:
    """The annotation moved by a few pixels, with scores for all classes and tracks that overlap."""
    rng = np.random.default_rng(sum(map(ord, sample.name)))
    return _predict(sample, kind, partial(np.roll, shift=1 if kind == "vis" else 3, axis=-1), rng)


def _predict(
    sample: VideoSample,
    kind: str,
    change: Callable[[NDArray[Any]], NDArray[Any]],
    rng: np.random.Generator | None = None,
) -> VideoSegmentation:
    task = task_of(sample, kind)
    assert task is not None
    vocabulary = sample.vocabulary if kind in ("vis", "vps", "vss") else None
    builder = VideoSegmentationBuilder(sample.size, task, vocabulary)
    for t in sample.annotated:
        truth = sample.read_truth(t)
        ids, masks = truth.ids, truth.masks
        if kind == "refvos":
            ids = tuple(range(1, len(sample.expressions) + 1))
            wanted = [np.isin(truth.ids, e.object_ids) for e in sample.expressions]
            masks = np.stack([truth.masks[w].any(axis=0) for w in wanted])
        if kind == "vss":
            ids, masks = (), masks[:0]
        semantic = None if kind not in ("vps", "vss") else truth.semantic
        semantic = None if semantic is None else change(semantic).astype(np.int32)
        changed = change(masks)
        if rng is not None and kind == "vis" and len(ids) > 1:
            changed = changed.copy()
            changed[0] |= changed[1]
        nothing = (None,) * len(ids)
        builder.add(FrameResult(t, ids, changed, nothing, nothing, semantic, vocabulary))
    summaries = [] if vocabulary is None or kind == "vss" else _summaries(sample, kind, rng)
    return builder.finish(sample.num_frames, summaries)


def _summaries(
    sample: VideoSample, kind: str, rng: np.random.Generator | None
) -> list[TrackSummary]:
    assert sample.vocabulary is not None
    found = []
    for info in sample.objects:
        scores = None
        if rng is not None and kind == "vis":
            scores = 0.5 * rng.random(len(sample.vocabulary)).astype(np.float32)
            scores[int(info.label or 0)] += 0.4
        found.append(TrackSummary(info.id, info.label, 0.9 - 0.01 * info.id, scores))
    return found


def _squares_truth(video: NDArray[np.uint8], t: int) -> Truth:
    numbers = video[t, ..., 0] // 20
    ids = tuple(int(n) for n in np.unique(numbers) if n)
    masks = np.array([numbers == n for n in ids], bool).reshape(-1, *numbers.shape)
    return Truth(ids, masks, numbers.astype(np.int16))


def _points(
    video: NDArray[np.uint8], t: int, numbers: tuple[int, ...]
) -> dict[int, tuple[float, float]]:
    centres = {n: np.argwhere(oracle.truth(video, n)[t]).mean(axis=0) for n in numbers}
    return {n: (float(x), float(y)) for n, (y, x) in centres.items()}
