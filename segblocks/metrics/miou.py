"""Mean intersection over union of the classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from segblocks.metrics.base import Record, VideoMetric, mean
from segblocks.metrics.classes import class_indices, predicted_classes
from segblocks.metrics.confusion import class_ious, joint_counts, sum_sparse, to_sparse
from segblocks.results import VideoSegmentation
from segblocks.tasks import VPS, VSS

if TYPE_CHECKING:
    from segblocks.data.sample import Truth, VideoSample


class MeanIoU(VideoMetric):
    r"""Compute the mean IoU of the classes over the pixels of all videos.

    With :math:`n_{ij}` pixels of class i that were predicted as j,
    :math:`mIoU = \frac{1}{K'} \sum_i n_{ii} / (\sum_j n_{ij} + \sum_j n_{ji} - n_{ii})` over the K'
    classes that are there or predicted (Long et al., Fully Convolutional Networks, CVPR 2015,
    section 5; what VSPW's tool computes). Unlabelled pixels are not judged; a pixel without a
    prediction is missed and no false positive of any class.

    Returns of ``compute``: mIoU; fwIoU, weighted by the pixels of each class; pixel_accuracy, and
    class_accuracy, its mean over the classes that are there.
    """

    tasks = (VPS, VSS)

    def _measure(self, truth: VideoSample, prediction: VideoSegmentation) -> Record:
        indices = class_indices(truth, prediction)
        assert truth.vocabulary is not None
        num_classes = len(truth.vocabulary)
        # The last entry is what index -1, no prediction, finds.
        lookup = np.append(indices, num_classes)
        counts = np.zeros((num_classes, num_classes + 1), dtype=np.int64)
        for t in truth.annotated:
            labels = labelled(truth, truth.read_truth(t), t)
            judged = labels >= 0
            predicted = lookup[np.maximum(predicted_classes(prediction, t)[judged], -1)]
            counts += joint_counts(labels[judged], predicted, counts.shape)
        missed = counts[:, num_classes]
        return {
            "confusion": to_sparse(counts[:, :num_classes]),
            "missed": to_sparse(np.diag(missed)),
        }

    def _score(self, records: Sequence[Record]) -> dict[str, float]:
        found = sum_sparse(record["confusion"] for record in records)
        missed = sum_sparse(record["missed"] for record in records)
        size = max(len(found), len(missed))
        counts = np.zeros((size, size + 1), dtype=np.int64)
        counts[: len(found), : len(found)] = found
        counts[: len(missed), size] = missed.diagonal()
        ious = class_ious(np.vstack([counts, np.zeros(size + 1, dtype=np.int64)]))[:size]
        pixels, common = counts.sum(axis=1), counts[:, :size].diagonal()
        there = pixels > 0
        total = int(pixels.sum())
        if not total:
            names = ("mIoU", "fwIoU", "pixel_accuracy", "class_accuracy")
            return dict.fromkeys(names, float("nan"))
        return {
            "mIoU": mean(ious[~np.isnan(ious)].tolist()),
            "fwIoU": float((pixels[there] * ious[there]).sum() / total),
            "pixel_accuracy": float(common.sum() / total),
            "class_accuracy": mean((common[there] / pixels[there]).tolist()),
        }


def labelled(sample: VideoSample, truth: Truth, t: int) -> NDArray[np.int64]:
    """Return the class of each pixel of an annotated frame, negative where none is judged.

    Raises:
        ValueError: the frame has no semantic map.
    """
    if truth.semantic is None:
        raise ValueError(f"video {sample.name!r} has no semantic map at frame {t}")
    labels = truth.semantic.astype(np.int64)
    if truth.ignore is not None:
        labels[truth.ignore] = -1
    return labels
