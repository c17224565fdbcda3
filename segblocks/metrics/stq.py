"""Segmentation and tracking quality."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from segblocks.metrics.base import Record, VideoMetric, mean
from segblocks.metrics.classes import vocabulary_of
from segblocks.metrics.confusion import class_ious, sum_sparse, to_sparse
from segblocks.metrics.segments import VOID, SegmentPair, Segments
from segblocks.results import VideoSegmentation
from segblocks.tasks import VPS

if TYPE_CHECKING:
    from segblocks.data.sample import VideoSample


class STQ(VideoMetric):
    r"""Compute segmentation and tracking quality.

    Weber et al., STEP: Segmenting and Tracking Every Pixel (NeurIPS 2021 datasets track), section
    4. :math:`STQ = \sqrt{AQ \cdot SQ}`. SQ is the mean IoU of the classes over all pixels. AQ
    judges the ids of things by pixels, whatever class they were given: for the annotated tubes g
    of all videos and the predicted tubes p of theirs,

    .. math:: AQ = \frac{1}{|G|} \sum_g \frac{1}{|g|} \sum_p |p \cap g| \, IoU(p, g)

    As in the official tool, pixels of a thing that belong to no annotated object are a crowd, in
    which ids are not judged; predicted tubes reach into unlabelled pixels; and labelled pixels
    for which no class was predicted make one more class, of IoU 0.

    Returns of ``compute``: STQ, AQ and SQ.
    """

    tasks = (VPS,)

    def _measure(self, truth: VideoSample, prediction: VideoSegmentation) -> Record:
        pair = SegmentPair(truth, prediction)
        annotated, predicted = pair.annotated, pair.predicted
        shape = len(annotated.labels), len(predicted.labels)
        counts = np.zeros(shape, dtype=np.int64)
        for frame in pair.counts():
            counts += frame
        association, tubes = _association(counts, annotated, predicted)
        confusion = _confusion(counts, annotated, predicted, len(vocabulary_of(truth)))
        return {"association": association, "tubes": tubes, "confusion": to_sparse(confusion)}

    def _score(self, records: Sequence[Record]) -> dict[str, float]:
        tubes = sum(record["tubes"] for record in records)
        association = sum(record["association"] for record in records)
        ious = class_ious(sum_sparse(record["confusion"] for record in records))
        quality = association / tubes if tubes else float("nan")
        segmentation = mean(ious[~np.isnan(ious)].tolist())
        stq = float(np.sqrt(quality * segmentation))
        return {"STQ": stq, "AQ": quality, "SQ": segmentation}


def _association(
    counts: NDArray[np.int64], annotated: Segments, predicted: Segments
) -> tuple[float, int]:
    """The sum of the association quality over the annotated tubes, and their number."""
    judged = counts[~annotated.is_crowd][:, predicted.is_thing]
    sizes = judged.sum(axis=0)
    tubes = annotated.is_thing & ~annotated.is_crowd & (counts.sum(axis=1) > 0)
    common = counts[tubes][:, predicted.is_thing]
    lengths = counts[tubes].sum(axis=1)
    union = lengths[:, None] + sizes[None] - common
    inner = (common * (common / np.maximum(union, 1))).sum(axis=1)
    return float((inner / lengths).sum()), int(tubes.sum())


def _confusion(
    counts: NDArray[np.int64], annotated: Segments, predicted: Segments, num_classes: int
) -> NDArray[np.int64]:
    """(K + 1, K + 1), the last column being pixels without a predicted class."""
    rows = np.delete(np.arange(len(annotated.labels)), VOID)
    columns = np.where(predicted.labels < 0, num_classes, predicted.labels)
    confusion = np.zeros((num_classes + 1, num_classes + 1), dtype=np.int64)
    np.add.at(confusion, (annotated.labels[rows][:, None], columns[None]), counts[rows])
    return confusion
