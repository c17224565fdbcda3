"""Panoptic quality, of frames and of short tubes."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from segblocks.metrics.base import Record, VideoMetric, mean
from segblocks.metrics.segments import VOID, SegmentPair, Segments
from segblocks.results import VideoSegmentation
from segblocks.tasks import VPS

if TYPE_CHECKING:
    from segblocks.data.sample import VideoSample

_GROUPS = {"": (True, False), "_Th": (True,), "_St": (False,)}


class TubeQuality(VideoMetric):
    """Match segments over windows of frames; see :class:`PQ` and :class:`VPQ`.

    Args:
        windows: lengths of the windows, in annotated frames.

    Raises:
        ValueError: no window, or one without a frame.
    """

    tasks = (VPS,)

    def __init__(self, windows: Sequence[int]) -> None:
        super().__init__()
        if not windows or min(windows) < 1:
            raise ValueError(f"windows must be lengths of at least 1, got {tuple(windows)}")
        self.windows = tuple(windows)

    def _settings(self) -> dict[str, Any]:
        return {"windows": list(self.windows)}

    def _measure(self, truth: VideoSample, prediction: VideoSegmentation) -> Record:
        pair = SegmentPair(truth, prediction)
        annotated, predicted = pair.annotated, pair.predicted
        num_classes = int(annotated.labels.max()) + 1
        sums = {k: np.zeros((num_classes, 4)) for k in self.windows}
        recent: deque[NDArray[np.int64]] = deque(maxlen=max(self.windows))
        for counts in pair.counts():
            recent.append(counts)
            for k in self.windows:
                if len(recent) >= k:
                    tube = np.sum(list(recent)[-k:], axis=0)
                    sums[k] += match_segments(tube, annotated, predicted, num_classes)
        things = annotated.is_thing[1 : num_classes + 1]
        return {str(k): _rows(sums[k], things) for k in self.windows}

    def _qualities(self, records: Sequence[Record], window: int) -> dict[str, tuple[float, ...]]:
        """(PQ, SQ, RQ) of all classes, of things and of stuff."""
        sums: dict[int, tuple[bool, NDArray[np.float64]]] = {}
        for record in records:
            for label, is_thing, *values in record[str(window)]:
                before = sums[label][1] if label in sums else 0.0
                sums[label] = (bool(is_thing), before + np.array(values))
        qualities = {}
        for group, kinds in _GROUPS.items():
            rows = [_quality(*values) for is_thing, values in sums.values() if is_thing in kinds]
            qualities[group] = tuple(mean([row[i] for row in rows]) for i in range(3))
        return qualities


class PQ(TubeQuality):
    r"""Compute panoptic quality, frame by frame.

    Kirillov et al., Panoptic Segmentation (CVPR 2019), section 4. A predicted and an annotated
    segment p, g of one class match where their IoU is above 0.5; void pixels of the annotation
    count to neither. For every class, over all annotated frames,

    .. math:: PQ = \frac{\sum_{(p, g) \in TP} IoU(p, g)}{|TP| + |FP| / 2 + |FN| / 2} = SQ \cdot RQ

    and the result is the mean over the classes that occur. Crowds need not be found, and a
    prediction that matches nothing is forgiven where void and the crowd of its class make up more
    than half of it.

    Returns of ``compute``: PQ, SQ and RQ, and the same of things (``PQ_Th``) and stuff (``PQ_St``).
    """

    def __init__(self) -> None:
        super().__init__((1,))

    def _score(self, records: Sequence[Record]) -> dict[str, float]:
        qualities = self._qualities(records, 1)
        names = ("PQ", "SQ", "RQ")
        return {n + group: q[i] for group, q in qualities.items() for i, n in enumerate(names)}


def match_segments(
    counts: NDArray[np.int64], annotated: Segments, predicted: Segments, num_classes: int
) -> NDArray[np.float64]:
    """Match the segments of a frame or tube, and count by class.

    Args:
        counts: (S, R), pixels of each annotated and predicted segment in common.
        annotated: describes the S segments.
        predicted: describes the R segments.
        num_classes: K.

    Returns:
        (K, 4): the sum of the IoU of matches; matches, false positives and false negatives.
    """
    area, predicted_area = counts.sum(axis=1), counts.sum(axis=0)
    union = area[:, None] + predicted_area[None] - counts - counts[VOID][None]
    same = annotated.labels[:, None] == predicted.labels[None]
    same &= ~annotated.is_crowd[:, None]
    same[VOID] = same[:, VOID] = False
    ious = np.where(same, counts / np.maximum(union, 1), 0.0)
    matched = ious > 0.5

    missed = (area > 0) & ~annotated.is_crowd & ~matched.any(axis=1)
    missed[VOID] = False
    crowd = annotated.is_crowd[:, None] & (annotated.labels[:, None] == predicted.labels[None])
    forgiven = counts[VOID] + np.where(crowd, counts, 0).sum(axis=0)
    wrong = (predicted_area > 0) & ~matched.any(axis=0) & (2 * forgiven <= predicted_area)
    wrong[VOID] = False

    result = np.zeros((num_classes, 4))
    rows, columns = np.nonzero(matched)
    np.add.at(result[:, 0], annotated.labels[rows], ious[rows, columns])
    np.add.at(result[:, 1], annotated.labels[rows], 1)
    np.add.at(result[:, 2], predicted.labels[wrong], 1)
    np.add.at(result[:, 3], annotated.labels[missed], 1)
    return result


def _rows(sums: NDArray[np.float64], things: NDArray[np.bool_]) -> list[list[float | int]]:
    """[class, is it a thing, sum of IoU, TP, FP, FN] of the classes that occur."""
    return [
        [int(k), int(things[k]), float(sums[k, 0]), *(int(n) for n in sums[k, 1:])]
        for k in np.flatnonzero(sums.any(axis=1))
    ]


def _quality(iou: float, tp: float, fp: float, fn: float) -> tuple[float, float, float]:
    weight = tp + (fp + fn) / 2
    return iou / weight, iou / tp if tp else 0.0, tp / weight
