"""How often an object is found under another number than before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from segblocks.metrics.base import Record, VideoMetric
from segblocks.metrics.overlaps import iou
from segblocks.results import VideoSegmentation
from segblocks.tasks import VIS, VPS, HintTask

if TYPE_CHECKING:
    from segblocks.data.sample import VideoSample

_LEAST = 0.5


class IdSwitches(VideoMetric):
    """Count changes of number, whatever the classes, as MOTA does (Bernardin & Stiefelhagen 2008).

    In each frame an object keeps the track that showed it last, where that still does with an IoU
    of 0.5; the other objects and tracks are paired at the greatest sum of IoUs, of which those from
    0.5 count. So two tracks of one object are no change. "switched" is the share of finds under
    another number than the last one, of all finds of an object that was found before; "found" that
    of all appearances of objects.
    """

    tasks = (VIS, VPS, HintTask)

    def _measure(self, truth: VideoSample, prediction: VideoSegmentation) -> Record:
        last: dict[int, int] = {}
        record = {"appearances": 0, "found": 0, "again": 0, "switched": 0}
        for t in truth.annotated:
            annotation, shown = truth.read_truth(t), prediction.frame(t)
            record["appearances"] += sum(bool(mask.any()) for mask in annotation.masks)
            overlap = iou(annotation.masks, shown.masks)
            known = [last.get(identity) for identity in annotation.ids]
            for row, column in _pairs(overlap, known, shown.ids):
                identity, number = annotation.ids[row], shown.ids[column]
                record["found"] += 1
                record["again"] += identity in last
                record["switched"] += last.get(identity, number) != number
                last[identity] = number
        return record

    def _score(self, records: Sequence[Record]) -> dict[str, float]:
        total = {name: sum(record[name] for record in records) for name in _NAMES}
        return {
            "switched": _share(total["switched"], total["again"]),
            "found": _share(total["found"], total["appearances"]),
        }


def _pairs(
    overlap: NDArray[np.float64], known: Sequence[int | None], numbers: Sequence[int]
) -> list[tuple[int, int]]:
    """Which object (row) is found as which track (column)."""
    score = np.where(overlap >= _LEAST, overlap, 0.0)
    same = np.array(known, dtype=object)[:, None] == np.array(numbers, dtype=object)
    # More than all others together can be worth.
    score[same & (score > 0)] += len(known) + 1
    rows, columns = linear_sum_assignment(-score)
    pairs = zip(rows.tolist(), columns.tolist(), strict=True)
    return [pair for pair in pairs if score[pair] > 0]


_NAMES = ("appearances", "found", "again", "switched")


def _share(part: int, whole: int) -> float:
    return part / whole if whole else float(np.nan)
