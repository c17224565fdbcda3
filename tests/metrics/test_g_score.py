"""G by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from segblocks.data.sample import ObjectInfo
from segblocks.metrics import GScore
from segblocks.metrics.boundary import boundary_f
from tests.metrics.videos import annotated_video, followed


def test_by_hand() -> None:
    mask = np.zeros((3, 8, 8), dtype=bool)
    mask[:, :4] = True
    half = mask.copy()
    half[:, :2] = False
    objects = [
        ObjectInfo(1, attributes={"seen": True}),
        ObjectInfo(2, attributes={"seen": False}),
        ObjectInfo(3, attributes={"seen": False}),
        ObjectInfo(4),
    ]
    truth = dict.fromkeys(range(1, 5), mask)
    video = annotated_video(truth, objects=objects)
    found = {1: half, 2: mask, 3: np.zeros_like(mask), 4: mask}
    metric = GScore()
    metric.update(video, followed(found))
    f_half = boundary_f(half[0], mask[0])
    expected = {"J_seen": 0.75, "J_unseen": 0.5, "F_seen": (1 + f_half) / 2, "F_unseen": 0.5}
    expected["G"] = sum(expected.values()) / 4
    assert metric.compute() == pytest.approx(expected)


def test_a_kind_that_is_missing_is_left_out() -> None:
    mask = np.ones((3, 4, 4), dtype=bool)
    mask[:, 2:] = False
    metric = GScore()
    metric.update(annotated_video({1: mask}), followed({1: mask}))
    result = metric.compute()
    assert result["G"] == 1
    assert math.isnan(result["J_unseen"])


def test_things_and_stuff() -> None:
    """Of eight parts, those of seen stuff are missed."""
    mask = np.zeros((4, 6, 6), dtype=bool)
    mask[:, :3, :3] = True
    labels = {1: 0, 2: 1, 3: 2, 4: 3}
    objects = [ObjectInfo(i, k, attributes={"seen": i % 2 == 0}) for i, k in labels.items()]
    found = {i: np.zeros_like(mask) if i == 2 else mask for i in labels}
    metric = GScore(by_kind=True)
    metric.update(annotated_video(dict.fromkeys(labels, mask), objects=objects), followed(found))
    result = metric.compute()
    assert len(result) == 9
    assert result["J_seen_stuff"] == result["F_seen_stuff"] == 0
    assert result["G"] == pytest.approx(6 / 8)
