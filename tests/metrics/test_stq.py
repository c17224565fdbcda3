"""STQ against loops over tubes, and by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from segblocks.metrics import STQ
from tests.metrics.panoptic_videos import PanopticVideo, is_thing, random_video, segments
from tests.metrics.videos import STREET, annotated_video, predicted_video


def slow_stq(videos: list[PanopticVideo]) -> dict[str, float]:
    association, tubes = 0.0, 0
    for video in videos:
        truth = segments(video.truth_class, video.truth_id)
        crowd = np.isin(video.truth_class, [2, 3]) & (video.truth_id == 0)
        found = segments(video.found_class, video.found_id)
        for (label, number), mask in truth.items():
            if not is_thing(label) or number == 0:
                continue
            inner = 0.0
            for (guess, _), other in found.items():
                if is_thing(guess):
                    judged = other & ~crowd
                    common = (mask & judged).sum()
                    inner += common * common / (mask | judged).sum()
            association += inner / mask.sum()
            tubes += 1
    ious = []
    for label in [*range(len(STREET)), -1]:
        common = union = 0
        for video in videos:
            judged = video.truth_class >= 0
            wanted = (video.truth_class == label) & judged
            guess = (video.found_class == label) & judged
            common += (wanted & guess).sum()
            union += (wanted | guess).sum()
        if union:
            ious.append(common / union)
    aq, sq = association / tubes, float(np.mean(ious))
    return {"STQ": math.sqrt(aq * sq), "AQ": aq, "SQ": sq}


@pytest.mark.parametrize("seed", range(6))
def test_equals_loops(seed: int) -> None:
    videos = [random_video(50 + 10 * seed + i) for i in range(3)]
    metric = STQ()
    for video in videos:
        metric.update(video.truth, video.prediction)
    assert metric.compute() == pytest.approx(slow_stq(videos), abs=1e-12)
    for video in videos:
        alone = metric.per_video()[video.truth.name]
        assert alone == pytest.approx(slow_stq([video]), abs=1e-12)


def test_by_hand() -> None:
    """A car in 4 frames, followed under one id for 3 and another for 1: 3/4 * 3/4 + 1/4 * 1/4."""
    mask = np.zeros((4, 2, 2), dtype=bool)
    mask[:, 0] = True
    semantic = np.where(mask, 2, 0)
    first, second = mask.copy(), mask.copy()
    first[3] = second[:3] = False
    metric = STQ()
    metric.update(
        annotated_video({1: mask}, semantic=semantic),
        predicted_video({1: first, 2: second}, semantic=np.zeros_like(semantic)),
    )
    assert metric.compute() == pytest.approx({"AQ": 10 / 16, "SQ": 1, "STQ": math.sqrt(10 / 16)})


def test_ids_are_judged_whatever_the_class_and_classes_whatever_the_id() -> None:
    mask = np.zeros((2, 2, 2), dtype=bool)
    mask[:, 0] = True
    semantic = np.where(mask, 2, 0)
    metric = STQ()
    metric.update(
        annotated_video({1: mask}, semantic=semantic),
        predicted_video({1: mask}, labels={1: 3}, semantic=np.zeros_like(semantic)),
    )
    # Road 1, car 0, person 0.
    assert metric.compute() == pytest.approx({"AQ": 1, "SQ": 1 / 3, "STQ": math.sqrt(1 / 3)})


def test_no_predicted_class_is_one_more_class() -> None:
    semantic = np.zeros((1, 2, 2), dtype=int)
    found = semantic.copy()
    found[0, 0, 0] = -1
    mask = np.zeros((1, 2, 2), dtype=bool)
    mask[0, 1] = True
    metric = STQ()
    metric.update(
        annotated_video({1: mask}, semantic=np.where(mask, 2, semantic)),
        predicted_video({1: mask}, semantic=found),
    )
    # Road 1/2, car 1, and 0 for the pixel that was left open.
    assert metric.compute()["SQ"] == pytest.approx((0.5 + 1 + 0) / 3)
