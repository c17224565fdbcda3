"""Frames of results as ``supervision.Detections``, for its annotators, zones and metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from segblocks._optional import require
from segblocks.frame_result import FrameResult

if TYPE_CHECKING:
    from supervision import Detections


def to_detections(frame: FrameResult) -> Detections:
    """Turn the objects of a frame into detections of the library ``supervision``.

    Objects without a pixel in the frame are left out: they have no box. A semantic map has no place
    there.

    Args:
        frame: of a stream, or ``result.frame(t)``.

    Returns:
        ``mask`` (n, H, W) bool; ``xyxy`` (n, 4) float32, the outermost pixels; ``tracker_id`` the
        ids of the tracks; ``class_id`` the index in the vocabulary and ``data["class_name"]``,
        where all objects have a class of it; ``confidence`` where all have a score.

    Raises:
        ImportError: supervision is missing, of the extra ``supervision``.

    Example:
        >>> masks = np.zeros((1, 4, 6), bool)
        >>> masks[0, 1:3, 2:5] = True
        >>> to_detections(FrameResult(0, (7,), masks, ("cat",), (0.9,))).xyxy.tolist()
        [[2.0, 1.0, 4.0, 2.0]]
    """
    supervision = require("supervision", "supervision")
    shown = np.flatnonzero(frame.masks.any(axis=(1, 2)))
    masks = frame.masks[shown]
    labels = [frame.labels[i] for i in shown]
    scores = [frame.scores[i] for i in shown]
    data: dict[str, Any] = {}
    if None not in labels:
        data["class_name"] = np.array(labels, dtype=str)
    return supervision.Detections(
        xyxy=supervision.mask_to_xyxy(masks).astype(np.float32).reshape(-1, 4),
        mask=masks,
        confidence=None if None in scores else np.array(scores, dtype=np.float32),
        class_id=_class_ids(frame, labels),
        tracker_id=np.array([frame.ids[i] for i in shown], dtype=int),
        data=data,
    )


def _class_ids(frame: FrameResult, labels: list[str | None]) -> NDArray[np.int_] | None:
    if frame.vocabulary is None or None in labels:
        return None
    return np.array([frame.vocabulary.index(str(label)) for label in labels], dtype=int)
