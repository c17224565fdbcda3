"""Predictions that need no trained model, as something to beat."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache, partial

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt
from torch import Tensor, nn

from benchmarks.learning.features import FrozenBackbone
from benchmarks.learning.propagation import PropagationSettings, grow_point, propagate
from segblocks.data import VideoSample
from segblocks.data.sample import IGNORE
from segblocks.inference import segment
from segblocks.inference.evaluation.sample_task import open_sample
from segblocks.results import (
    FrameResult,
    TrackSummary,
    VideoSegmentation,
    VideoSegmentationBuilder,
)
from segblocks.tasks import EVS, PET, CategoryTask, HintTask, Task

Predict = Callable[[VideoSample, Task], VideoSegmentation]
Backbone = Callable[[NDArray[np.uint8]], dict[int, Tensor]]


def repeat_first(
    sample: VideoSample,
    task: Task,
    settings: PropagationSettings | None = None,
    backbone: Backbone | None = None,
) -> VideoSegmentation:
    """Predict that nothing ever moves.

    Args:
        sample: the video. For tasks without hints the truth of its first frame is shown.
        task: with hints, or VIS or VPS.
        settings: what region a point stands for.
        backbone: of the features that tell; without them it is a disc.
    """
    given = _given(sample, task, settings or PropagationSettings(), backbone)
    maps, current = [], np.zeros(sample.size, np.int64)
    for t in range(sample.num_frames):
        for label, mask in given.get(t, {}).items():
            current = np.where(mask, label, current)
        maps.append(current)
    return _collect(sample, task, maps)


def propagate_first(
    sample: VideoSample,
    task: Task,
    settings: PropagationSettings | None = None,
    backbone: Backbone | None = None,
) -> VideoSegmentation:
    """Predict by similarity of features alone, see `propagate`.

    Args:
        sample: as for `repeat_first`.
        task: as for `repeat_first`.
        settings: of the propagation.
        backbone: of the features; the default is frozen.
    """
    settings, backbone = settings or PropagationSettings(), backbone or _frozen_backbone()
    frames = map(sample.read_frame, range(sample.num_frames))
    given = _given(sample, task, settings, backbone)
    return _collect(sample, task, propagate(frames, given, settings, backbone))


# Without a backbone, so that naming them needs no weights.
BASELINES: dict[str, Predict] = {
    "repeat first": repeat_first,
    "k-NN propagation": propagate_first,
}


def commonest_class(sample: VideoSample, task: Task) -> VideoSegmentation:
    """Predict the class of most pixels of the first frame, in all pixels of all frames (VSS)."""
    assert isinstance(task, CategoryTask)
    vocabulary = task.resolve()
    truth = sample.read_truth(0).semantic
    assert truth is not None
    classes, counts = np.unique(truth[truth != IGNORE], return_counts=True)
    everywhere = np.full(sample.size, classes[counts.argmax()], np.int32)
    nothing = np.zeros((0, *sample.size), bool)
    builder = VideoSegmentationBuilder(sample.size, task, vocabulary)
    for t in range(sample.num_frames):
        builder.add(FrameResult(t, (), nothing, (), (), everywhere, vocabulary))
    return builder.finish(sample.num_frames, [])


def ask_model(model: nn.Module, **settings: object) -> Predict:
    """Return what asks a model, with settings of :func:`segblocks.segment`."""

    def predict(sample: VideoSample, task: Task) -> VideoSegmentation:
        return segment(model, open_sample(sample), task, **settings)

    return predict


def all_baselines() -> dict[str, Predict]:
    """Return the baselines by name, where a point stands for a region of like features."""
    return BASELINES | {"repeat first": partial(repeat_first, backbone=_frozen_backbone())}


def deepest_points(task: HintTask) -> PET:
    """Return a task that gives, for each mask of another, the pixel farthest from its border."""
    points = {
        t: np.array([_deepest(mask) for mask in found.values]) for t, found in task.hints.items()
    }
    return PET(points, {t: found.ids for t, found in task.hints.items()})


def tight_boxes(task: HintTask) -> EVS:
    """Return a task that gives, for each mask of another, the smallest box around it."""
    boxes = {t: np.array([_box(mask) for mask in found.values]) for t, found in task.hints.items()}
    return EVS(boxes=boxes, ids={t: found.ids for t, found in task.hints.items()})


def _box(mask: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    ys, xs = mask.nonzero()
    return int(xs.min()), int(ys.min()), int(xs.max()) + 1, int(ys.max()) + 1


def _deepest(mask: NDArray[np.bool_]) -> tuple[float, float]:
    # The frame's border is one, so that a point is never on it.
    depth = np.asarray(distance_transform_edt(np.pad(mask, 1)))[1:-1, 1:-1]
    y, x = np.unravel_index(int(depth.argmax()), depth.shape)
    return float(x), float(y)


@cache
def _frozen_backbone() -> FrozenBackbone:
    return FrozenBackbone()


def _given(
    sample: VideoSample,
    task: Task,
    settings: PropagationSettings,
    backbone: Backbone | None = None,
) -> dict[int, dict[int, NDArray[np.bool_]]]:
    """Frame -> label -> mask: what a baseline is shown.

    Labels are the ids of the objects; classes of stuff come after them, see `_stuff_label`.
    """
    if isinstance(task, HintTask):
        return {
            t: {
                number: value
                if found.kind == "mask"
                else grow_point(sample.read_frame(t), value, settings, backbone)
                for number, value in zip(found.ids, found.values, strict=True)
            }
            for t, found in task.hints.items()
        }
    truth = sample.read_truth(0)
    shown: dict[int, NDArray[np.bool_]] = {}
    if task.name == "vps" and truth.semantic is not None and sample.vocabulary is not None:
        for index in sample.vocabulary.stuff_ids:
            if (mask := truth.semantic == index).any():
                shown[_stuff_label(sample, index)] = mask
    return {0: shown | dict(zip(truth.ids, truth.masks, strict=True))}


def _stuff_label(sample: VideoSample, index: int) -> int:
    return 1 + max((info.id for info in sample.objects), default=0) + index


def _collect(
    sample: VideoSample, task: Task, maps: Iterable[NDArray[np.int64]]
) -> VideoSegmentation:
    """A result from the label of each pixel."""
    vocabulary = task.resolve() if isinstance(task, CategoryTask) else None
    if isinstance(task, HintTask):
        ids = task.object_ids
    else:
        ids = tuple(info.id for info in sample.objects)
    classes = {info.id: info.label for info in sample.objects}
    builder = VideoSegmentationBuilder(sample.size, task, vocabulary)
    nothing = (None,) * len(ids)
    for t, labels in enumerate(maps):
        masks = np.array([labels == number for number in ids], bool)
        masks = masks.reshape(len(ids), *sample.size)
        semantic = _semantic(sample, labels, classes) if task.name == "vps" else None
        builder.add(FrameResult(t, ids, masks, nothing, nothing, semantic, vocabulary))
    summaries = [] if vocabulary is None else [TrackSummary(i, classes[i], 1.0) for i in ids]
    return builder.finish(sample.num_frames, summaries)


def _semantic(
    sample: VideoSample, labels: NDArray[np.int64], classes: dict[int, int | None]
) -> NDArray[np.int32]:
    assert sample.vocabulary is not None
    table = np.zeros(_stuff_label(sample, len(sample.vocabulary)), np.int32)
    for number, label in classes.items():
        table[number] = -1 if label is None else label
    for index in range(len(sample.vocabulary)):
        table[_stuff_label(sample, index)] = index
    return table[labels]
