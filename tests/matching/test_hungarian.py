from __future__ import annotations

from itertools import permutations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from segblocks.matching import linear_assignment


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 5), st.integers(0, 4), st.integers(0, 2**16))
def test_the_pairs_are_the_cheapest(queries: int, objects: int, seed: int) -> None:
    cost = torch.rand(queries, objects, generator=torch.Generator().manual_seed(seed))
    (match,) = linear_assignment([cost])
    pairs = min(queries, objects)
    assert match.queries.shape == match.targets.shape == (pairs,)
    assert match.targets.tolist() == sorted(set(match.targets.tolist()))
    assert len(set(match.queries.tolist())) == pairs
    wide = cost if queries >= objects else cost.T
    best = min(
        sum(float(wide[q, o]) for o, q in enumerate(chosen))
        for chosen in permutations(range(len(wide)), pairs)
    )
    assert float(cost[match.queries, match.targets].sum()) == pytest.approx(best, abs=1e-6)


def test_a_batch_equals_its_videos() -> None:
    costs = [torch.rand(6, o) for o in (3, 0, 6, 1)]
    for alone, together in zip(costs, linear_assignment(costs), strict=True):
        (expected,) = linear_assignment(alone[None])
        assert torch.equal(together.queries, expected.queries)
        assert torch.equal(together.targets, expected.targets)
    assert linear_assignment([]) == []


def test_the_host_is_asked_once(monkeypatch) -> None:
    copies = []
    cpu = torch.Tensor.cpu
    monkeypatch.setattr(torch.Tensor, "cpu", lambda self: copies.append(1) or cpu(self))
    linear_assignment(torch.rand(5, 4, 3))
    assert len(copies) == 1


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_cost_that_is_no_number_names_the_video(value: float) -> None:
    costs = torch.rand(2, 4, 3)
    costs[1, 2, 1] = value
    with pytest.raises(ValueError, match=r"video 'cow'.*query 2 and target 1"):
        linear_assignment(costs, names=["bear", "cow"])


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="names"):
        linear_assignment(torch.rand(2, 4, 3), names=["bear"])
    with pytest.raises(ValueError, match=r"must be \(Q, O\)"):
        linear_assignment([torch.rand(4)])
