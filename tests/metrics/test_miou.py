"""mIoU against loops over the classes."""

from __future__ import annotations

import math

import numpy as np
import pytest

from segblocks.metrics import MeanIoU
from tests.metrics.panoptic_videos import random_video
from tests.metrics.videos import STREET, annotated_video, predicted_video


@pytest.mark.parametrize("seed", range(4))
def test_equals_loops(seed: int) -> None:
    videos = [random_video(200 + 10 * seed + i) for i in range(3)]
    metric = MeanIoU()
    for video in videos:
        metric.update(video.truth, video.prediction)
    truth = np.concatenate([v.truth_class.ravel() for v in videos])
    found = np.concatenate([v.found_class.ravel() for v in videos])[truth >= 0]
    truth = truth[truth >= 0]
    ious, weights, accuracies = [], [], []
    for label in range(len(STREET)):
        union = ((truth == label) | (found == label)).sum()
        if union:
            ious.append(((truth == label) & (found == label)).sum() / union)
            weights.append((truth == label).mean())
        if (truth == label).any():
            accuracies.append((found[truth == label] == label).mean())
    assert metric.compute() == pytest.approx(
        {
            "mIoU": np.mean(ious),
            "fwIoU": np.dot(weights, ious),
            "pixel_accuracy": (truth == found).mean(),
            "class_accuracy": np.mean(accuracies),
        }
    )


def test_by_hand() -> None:
    """Road 2 of 4 pixels in common, sky 1 of 3; car and person are nowhere."""
    truth = np.array([[[0, 0, 0, 1, 1, -1]]])
    found = np.array([[[0, 0, 1, 1, -1, 3]]])
    metric = MeanIoU()
    metric.update(annotated_video({}, semantic=truth), predicted_video({}, semantic=found))
    result = metric.compute()
    assert result["mIoU"] == pytest.approx((2 / 3 + 1 / 3) / 2)
    assert result["pixel_accuracy"] == pytest.approx(3 / 5)


def test_nothing_labelled_is_nan() -> None:
    metric = MeanIoU()
    nothing = np.full((1, 2, 2), -1)
    metric.update(annotated_video({}, semantic=nothing), predicted_video({}, semantic=nothing))
    assert all(math.isnan(v) for v in metric.compute().values())
