"""PQ worked out on paper, rule by rule, as panopticapi applies them."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from segblocks.data.sample import ObjectInfo
from segblocks.metrics import PQ
from tests.metrics.videos import annotated_video, predicted_video

SIZE = (10, 10)


def rows(*parts: tuple[int, int]) -> NDArray[np.bool_]:
    """A still whose rows ``start`` to ``stop`` belong, (1, 10, 10)."""
    mask = np.zeros((1, *SIZE), dtype=bool)
    for start, stop in parts:
        mask[:, start:stop] = True
    return mask


def pq(
    truth: dict[int, NDArray[np.bool_]],
    found: dict[int, NDArray[np.bool_]],
    *,
    crowds: tuple[int, ...] = (),
    void: NDArray[np.bool_] | None = None,
    labels: dict[int, int] | None = None,
) -> dict[str, float]:
    semantic = np.zeros((1, *SIZE), dtype=int)
    for mask in truth.values():
        semantic[mask] = 2
    if void is not None:
        semantic[void] = -1
    objects = [ObjectInfo(i, 2, is_crowd=i in crowds) for i in truth]
    metric = PQ()
    stuff = np.zeros((1, *SIZE), dtype=int)
    metric.update(
        annotated_video(truth, semantic=semantic, objects=objects),
        predicted_video(found, semantic=stuff, labels=labels),
    )
    return metric.compute()


def test_matches_misses_and_false_positives() -> None:
    """Cars: one of IoU 3/4, one missed, one made up. Road: 60 pixels, 60 found, 50 in common."""
    truth = {1: rows((0, 4))}
    truth[1][:, :, :] &= True
    both = {1: rows((0, 4)), 2: rows((4, 5))}
    result = pq(both, {1: rows((0, 3)), 2: rows((8, 9))})
    assert result["PQ_Th"] == pytest.approx(0.75 / (1 + 0.5 + 0.5))
    assert result["SQ_Th"] == pytest.approx(0.75)
    assert result["RQ_Th"] == pytest.approx(1 / 2)
    # Road: rows 5 to 9 are annotated; 3 to 7 and 9 are predicted: 4 of 7 rows.
    assert result["PQ_St"] == pytest.approx(4 / 7)
    assert result["PQ"] == pytest.approx((0.375 + 4 / 7) / 2)


def test_an_iou_of_one_half_is_no_match() -> None:
    result = pq({1: rows((0, 4))}, {1: rows((0, 2))})
    assert result["PQ_Th"] == 0
    assert result["RQ_Th"] == 0


def test_void_counts_to_no_segment() -> None:
    """The prediction reaches 4 rows into void, which the union does not hold."""
    void = rows((4, 8))
    result = pq({1: rows((0, 4))}, {1: rows((0, 8))}, void=void)
    assert result["PQ_Th"] == 1


@pytest.mark.parametrize(("inside", "excused"), [(3, True), (2, False)])
def test_false_positives_mostly_in_void_are_excused(inside: int, excused: bool) -> None:
    """Half of it in void is not enough."""
    void = rows((6, 9))
    guess = rows((9 - inside, 9), (4, 6))
    result = pq({1: rows((0, 2))}, {1: rows((0, 2)), 2: guess}, void=void)
    assert result["PQ_Th"] == pytest.approx(1 if excused else 1 / 1.5)


@pytest.mark.parametrize(("inside", "excused"), [(3, True), (2, False)])
def test_crowds_excuse_and_need_not_be_found(inside: int, excused: bool) -> None:
    truth = {1: rows((0, 2)), 2: rows((6, 9))}
    guess = rows((9 - inside, 9), (4, 6))
    result = pq(truth, {1: rows((0, 2)), 2: guess}, crowds=(2,))
    assert result["PQ_Th"] == pytest.approx(1 if excused else 1 / 1.5)
    # A crowd of cars does not excuse a person.
    other = pq(truth, {1: rows((0, 2)), 2: guess}, crowds=(2,), labels={2: 3})
    assert other["PQ_Th"] == pytest.approx(1 / 2)


def test_a_match_inside_a_crowd_is_none() -> None:
    result = pq({1: rows((0, 3)), 2: rows((5, 9))}, {1: rows((5, 9))}, crowds=(2,))
    assert result["PQ_Th"] == 0
    assert result["SQ_Th"] == 0
