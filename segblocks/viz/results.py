"""What a task found, drawn over the frames of its video."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from segblocks.ops.label_map import label_map_from_masks
from segblocks.results import VideoSegmentation
from segblocks.viz.overlay import overlay


def draw_result(result: VideoSegmentation, t: int, frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Draw what was found in frame ``t`` over it, with labels, ids and scores.

    Args:
        result: of any task.
        t: index of the frame.
        frame: RGB (H, W, 3) uint8.

    Returns:
        A new frame.

    Raises:
        IndexError: the video has no such frame.
        ValueError: another shape or dtype, or a frame of another size than the result's.

    Example:
        >>> from segblocks.results import VideoSegmentationBuilder
        >>> from segblocks.tasks import VOS
        >>> result = VideoSegmentationBuilder((4, 6), VOS(np.ones((1, 4, 6), bool))).finish(1)
        >>> draw_result(result, 0, np.zeros((4, 6, 3), np.uint8)).shape
        (4, 6, 3)
    """
    if result.has_semantic:
        panoptic = result.panoptic(t)
        names = {s.id: _caption(s.label, s.track_id, s.score) for s in panoptic.segments}
        return overlay(frame, panoptic.ids, texts=names)
    names = {track.id: _caption(track.label, track.id, track.score) for track in result.tracks}
    return overlay(frame, track_label_map(result, t), texts=names)


def track_label_map(result: VideoSegmentation, t: int) -> NDArray[np.int32]:
    """Paint the tracks of frame ``t`` into one map of ids (H, W), higher scores on top.

    Raises:
        IndexError: the video has no such frame.
    """
    frame = result.frame(t)
    scores = [-np.inf if score is None else score for score in frame.scores]
    order = np.argsort(scores, kind="stable").tolist()
    return label_map_from_masks(frame.masks[order], [frame.ids[i] for i in order])


def _caption(label: str | None, number: int | None, score: float | None) -> str:
    parts = (label, number, None if score is None else f"{score:.2f}")
    return " ".join(str(part) for part in parts if part is not None)
