from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from segblocks.tracking.linking import link_masks


def masks(*rows: str) -> torch.Tensor:
    return torch.tensor([[[[c == "x" for c in row]]] for row in rows])


def test_above_one_half_links_and_one_half_does_not() -> None:
    # (I + 1) / (U + 1): 3/4, 3/5, 2/4.
    assert link_masks(masks("xxx."), masks("xx..")) == [0]
    assert link_masks(masks("xxx."), masks(".xxx")) == [0]
    assert link_masks(masks("xx.."), masks(".xx.")) == [None]


def test_the_greatest_sum_wins_over_the_greatest_pair() -> None:
    # Greedily, the first pair of 5/6 would leave the other two masks with nothing.
    previous = masks("xxxxx.....", "xxxx......")
    current = masks("xxxx......", "xxxxxxx...")
    assert link_masks(previous, current) == [1, 0]


def test_empty_masks_are_linked_only_on_demand() -> None:
    empty, there = masks("...."), masks("xx..")
    assert link_masks(empty, empty) == [None]
    assert link_masks(empty, empty, link_empty=True) == [0]
    assert link_masks(torch.cat([empty, there]), torch.cat([there, empty])) == [1, None]


def test_nothing_to_link() -> None:
    none = torch.zeros(0, 1, 1, 4, dtype=torch.bool)
    assert link_masks(none, masks("xx..")) == [None]
    assert link_masks(masks("xx.."), none) == []


@given(st.integers(0, 200))
@settings(deadline=None)
def test_assignment_is_the_best_of_all(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    a, b = (torch.rand(3, 2, 3, 3, generator=generator) < 0.6 for _ in range(2))

    def iou(x: torch.Tensor, y: torch.Tensor) -> float:
        return (int((x & y).sum()) + 1) / (int((x | y).sum()) + 1)

    def total(links: Sequence[int | None]) -> float:
        return sum(iou(a[i], b[j]) for j, i in enumerate(links) if i is not None)

    best = max(total(p) for p in permutations(range(3)))
    assert total(link_masks(a, b, min_iou=0)) == pytest.approx(best)
    assert all(iou(a[i], b[j]) > 0.5 for j, i in enumerate(link_masks(a, b)) if i is not None)
