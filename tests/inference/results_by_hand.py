"""Small results made by hand, whose files can be checked pixel by pixel."""

from __future__ import annotations

import numpy as np

from segblocks.inference.video import VideoReader, open_video
from segblocks.inference.writers import save_result
from segblocks.results import (
    FrameResult,
    TrackSummary,
    VideoSegmentation,
    VideoSegmentationBuilder,
)
from segblocks.tasks import PET, VIS, VOS, VPS, Task
from segblocks.text.vocabulary import Vocabulary, get_vocabulary

SIZE = (12, 16)
FRAMES = np.random.default_rng(0).integers(0, 256, (3, *SIZE, 3), dtype=np.uint8)
STREET = Vocabulary("street", ("road", "car", "person"), things={1, 2}, category_ids=(7, 26, 24))


def box(top: int, left: int, bottom: int, right: int) -> np.ndarray:
    mask = np.zeros(SIZE, np.bool_)
    mask[top:bottom, left:right] = True
    return mask


EMPTY = box(0, 0, 0, 0)
#: Object -> its mask in each of three frames; 1 and 2 overlap in frame 0, 2 leaves in frame 2.
MASKS = {
    1: (box(1, 1, 6, 8), box(2, 1, 7, 8), box(3, 1, 8, 8)),
    2: (box(4, 5, 10, 12), box(4, 9, 10, 15), EMPTY),
}


def build(
    task: Task,
    vocabulary: Vocabulary | None = None,
    summaries: tuple[TrackSummary, ...] = (),
    *,
    semantic: bool = False,
    masks: dict[int, tuple[np.ndarray, ...]] = MASKS,
    source: VideoReader | None = None,
) -> VideoSegmentation:
    """A result of three frames, as inference would build it."""
    source = source or open_video(FRAMES, fps=12)
    builder = VideoSegmentationBuilder(SIZE, task, vocabulary, save_result, source)
    for t in range(3):
        stack = np.stack([frames[t] for frames in masks.values()])
        stuff = np.where(box(0, 0, 2, 16), -1, 0).astype(np.int32) if semantic else None
        nothing = (None,) * len(masks)
        builder.add(FrameResult(t, tuple(masks), stack, nothing, nothing, stuff, vocabulary))
    return builder.finish(3, summaries)


def vis_result(source: VideoReader | None = None) -> VideoSegmentation:
    summaries = (
        TrackSummary(1, 1, 0.9, np.array([0.0, 0.9, 0.1])),
        TrackSummary(2, 1, 0.6, np.array([0.0, 0.6, 0.4])),
    )
    return build(VIS(STREET), STREET, summaries, source=source)


def vps_result(vocabulary: str | Vocabulary = STREET) -> VideoSegmentation:
    known = get_vocabulary(vocabulary) if isinstance(vocabulary, str) else vocabulary
    car, person = known.index("car"), known.index("person")
    summaries = (TrackSummary(1, car, 0.7), TrackSummary(2, person, 0.8))
    return build(VPS(known), known, summaries, semantic=True)


def vos_result(masks: dict[int, tuple[np.ndarray, ...]] = MASKS) -> VideoSegmentation:
    hints = np.stack([frames[0] for frames in masks.values()])
    return build(VOS(hints, tuple(masks)), masks=masks)


def pet_result() -> VideoSegmentation:
    return build(PET([(3.0, 3.5), (9.0, 8.0)], ids=[2, 1]))
