"""Small videos from arrays: what is annotated, and what was predicted for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from segblocks.data.sample import Expression, ObjectInfo, Truth, VideoSample
from segblocks.frame_result import FrameResult
from segblocks.results import TrackSummary, VideoSegmentation, VideoSegmentationBuilder
from segblocks.tasks import VIS, VOS, VPS, VSS, CategoryTask, Task
from segblocks.text.vocabulary import Vocabulary

STREET = Vocabulary(
    "street", ("road", "sky", "car", "person"), things={2, 3}, category_ids=(7, 9, 4, 5)
)
Masks = Mapping[int, NDArray[np.bool_]]


def _read(truths: Mapping[int, Truth], t: int) -> Truth:
    return truths[t]


def _no_frame(t: int) -> NDArray[np.uint8]:
    raise AssertionError("metrics look at no picture")


def annotated_video(
    masks: Masks,
    *,
    name: str = "video",
    objects: Sequence[ObjectInfo] | None = None,
    semantic: NDArray[np.integer] | None = None,
    ignore: NDArray[np.bool_] | None = None,
    vocabulary: Vocabulary | None = STREET,
    annotated: Sequence[int] | None = None,
    hint_frames: Mapping[int, int] | None = None,
    expressions: Sequence[Expression] = (),
) -> VideoSample:
    """``masks``: object id -> (T, H, W)."""
    shapes = [m.shape for m in masks.values()] + ([] if semantic is None else [semantic.shape])
    num_frames, *size = shapes[0]
    times = range(num_frames) if annotated is None else annotated
    truths = {}
    for t in times:
        shown = [i for i in sorted(masks) if masks[i][t].any()]
        stacked = np.array([masks[i][t] for i in shown], dtype=bool).reshape(-1, *size)
        truths[t] = Truth(
            tuple(shown),
            stacked,
            None if semantic is None else semantic[t].astype(np.int16),
            None if ignore is None else ignore[t],
        )
    return VideoSample(
        name,
        num_frames,
        (size[0], size[1]),
        _no_frame,
        partial(_read, truths),
        tuple(times),
        tuple(ObjectInfo(i, 2) for i in sorted(masks)) if objects is None else tuple(objects),
        vocabulary,
        tuple(expressions),
        hint_frames={} if hint_frames is None else dict(hint_frames),
    )


def predicted_video(
    masks: Masks,
    *,
    task: Task | None = None,
    labels: Mapping[int, int] | None = None,
    scores: Mapping[int, float] | None = None,
    class_scores: Mapping[int, NDArray[np.floating]] | None = None,
    semantic: NDArray[np.integer] | None = None,
    vocabulary: Vocabulary = STREET,
    shape: tuple[int, int, int] | None = None,
) -> VideoSegmentation:
    """``masks``: track id -> (T, H, W); ``labels``: class indices, 2 where not given."""
    shapes = [m.shape for m in masks.values()] + ([] if semantic is None else [semantic.shape])
    num_frames, *size = shape or shapes[0]
    if task is None:
        task = (
            VIS(vocabulary) if semantic is None else (VPS(vocabulary) if masks else VSS(vocabulary))
        )
    known = vocabulary if isinstance(task, CategoryTask) else None
    builder = VideoSegmentationBuilder((size[0], size[1]), task, known)
    ids = tuple(masks)
    for t in range(num_frames):
        stacked = np.array([masks[i][t] for i in ids], dtype=bool).reshape(-1, *size)
        map_ = None if semantic is None else semantic[t].astype(np.int32)
        nothing = (None,) * len(ids)
        builder.add(FrameResult(t, ids, stacked, nothing, nothing, map_, known))
    summaries = [
        TrackSummary(
            i,
            (labels or {}).get(i, 2) if known else None,
            (scores or {}).get(i, 0.9) if known else None,
            None if class_scores is None else class_scores[i],
        )
        for i in ids
    ]
    return builder.finish(num_frames, summaries)


def followed(masks: Masks, hints: Mapping[int, int] | None = None) -> VideoSegmentation:
    """What a VOS task of these objects gave, each hinted in its frame, 0 where none is given."""
    size = next(iter(masks.values())).shape[1:]
    frames: dict[int, list[int]] = {}
    for object_id in masks:
        frames.setdefault((hints or {}).get(object_id, 0), []).append(object_id)
    full = {t: np.ones((len(ids), *size), dtype=bool) for t, ids in frames.items()}
    return predicted_video(masks, task=VOS(full, ids=frames))


def blobs(
    rng: np.random.Generator, ids: Sequence[int], shape: tuple[int, int, int]
) -> dict[int, NDArray[np.bool_]]:
    """Random boxes that jitter from frame to frame, and are gone in some."""
    frames, height, width = shape
    masks = {}
    for i in ids:
        mask = np.zeros(shape, dtype=bool)
        y, x = rng.integers(0, height - 2), rng.integers(0, width - 2)
        h, w = rng.integers(2, height // 2 + 2), rng.integers(2, width // 2 + 2)
        for t in range(frames):
            dy, dx = rng.integers(-1, 2, size=2)
            if rng.random() < 0.85:
                mask[t, max(y + dy, 0) : y + dy + h, max(x + dx, 0) : x + dx + w] = True
        masks[i] = mask
    return masks
