from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from segblocks.matching import (
    MatchingCost,
    class_cost,
    linear_assignment,
    mask_costs,
    seeded_generator,
    tiles,
    uniform_points,
)
from tests.losses.oracle import bce, dense_logits, dice, sample

F64 = torch.float64


def slow_costs(
    embeddings: Tensor, features: Tensor, masks: Tensor, points: Tensor
) -> tuple[Tensor, Tensor]:
    logits = sample(dense_logits(embeddings, features), points).flatten(1)
    targets = sample(masks, points).flatten(1) if len(masks) else logits[:0]
    of_entropy, of_dice = torch.zeros(2, len(logits), len(targets), dtype=F64)
    for q, logit in enumerate(logits):
        for o, target in enumerate(targets):
            values = [bce(x, y) for x, y in zip(logit, target, strict=True)]
            of_entropy[q, o] = sum(values) / len(values)
            of_dice[q, o] = dice(logit, target)
    return of_entropy, of_dice


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 2), st.integers(1, 2), st.booleans(), st.booleans(), st.integers(0, 999))
def test_mask_costs_equal_the_loop(
    objects: int, frames: int, per_frame: bool, shared: bool, seed: int
) -> None:
    torch.manual_seed(seed)
    embeddings = torch.randn((3, frames, 4) if per_frame else (3, 4), dtype=F64)
    features = torch.randn(frames, 4, 3, 4, dtype=F64)
    masks = torch.rand(objects, frames, 6, 8) > 0.7
    points = torch.rand((5, 2) if shared else (frames, 5, 2), dtype=F64)
    torch.testing.assert_close(
        mask_costs(embeddings, features, masks, points),
        slow_costs(embeddings, features, masks, points),
    )


def test_targets_without_a_point_inside() -> None:
    embeddings, features = torch.randn(3, 4, dtype=F64), torch.randn(2, 4, 3, 4, dtype=F64)
    masks = torch.zeros(1, 2, 8, 8, dtype=torch.bool)
    points = torch.rand(5, 2, dtype=F64)
    expected = slow_costs(embeddings, features, masks, points)
    torch.testing.assert_close(mask_costs(embeddings, features, masks, points), expected)


def test_extreme_logits_stay_finite() -> None:
    embeddings = torch.tensor([[1e4], [-1e4]])
    masks = torch.ones(1, 1, 4, 4, dtype=torch.bool)
    points = torch.full((1, 3, 2), 0.5)
    of_entropy, of_dice = mask_costs(embeddings, torch.ones(1, 1, 4, 4), masks, points)
    torch.testing.assert_close(of_entropy, torch.tensor([[0.0], [1e4]]))
    torch.testing.assert_close(of_dice, torch.tensor([[0.0], [0.75]]))


def test_small_tiles_and_autocast_change_nothing(monkeypatch) -> None:
    embeddings, features = torch.randn(9, 16), torch.randn(2, 16, 6, 8)
    masks, points = torch.rand(3, 2, 24, 32) > 0.5, torch.rand(33, 2)
    whole = mask_costs(embeddings, features, masks, points)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(mask_costs(embeddings, features, masks, points), whole)
    monkeypatch.setattr(tiles, "_TILE", 64)
    torch.testing.assert_close(mask_costs(embeddings, features, masks, points), whole)


def test_class_cost_is_minus_the_probability() -> None:
    logits, labels = torch.randn(4, 6), torch.tensor([5, 0, 0])
    logits[:, 2] = -torch.inf
    cost = class_cost(logits, labels)
    for q in range(4):
        total = sum(math.exp(float(x)) for x in logits[q])
        for o, label in enumerate(labels):
            expected = -math.exp(float(logits[q, label])) / total
            assert float(cost[q, o]) == pytest.approx(expected, rel=1e-5)
    scaled = class_cost(logits, labels, probability=lambda x: (5 * x.sigmoid()).softmax(-1))
    torch.testing.assert_close(scaled, -(5 * logits.sigmoid()).softmax(-1)[:, labels])


def test_the_sum_is_weighted_and_seeded() -> None:
    embeddings, features = torch.randn(5, 8), torch.randn(2, 8, 4, 4)
    masks, labels = torch.rand(3, 2, 16, 16) > 0.5, torch.tensor([1, 0, 2])
    logits = torch.randn(5, 4)
    cost = MatchingCost(class_weight=3.0, mask_weight=7.0, dice_weight=11.0, num_points=20)
    total = cost(embeddings, features, masks, logits, labels, generator=seeded_generator(1))
    points = uniform_points((), 20, generator=seeded_generator(1))
    of_entropy, of_dice = mask_costs(embeddings, features, masks, points)
    expected = 7 * of_entropy + 11 * of_dice + 3 * class_cost(logits, labels)
    torch.testing.assert_close(total, expected)
    masks_only = cost(embeddings, features, masks, generator=seeded_generator(1))
    torch.testing.assert_close(masks_only, 7 * of_entropy + 11 * of_dice)
    with pytest.raises(ValueError, match="given together"):
        cost(embeddings, features, masks, logits)


def test_a_query_that_shows_the_target_gets_it() -> None:
    masks = torch.zeros(2, 1, 8, 8, dtype=torch.bool)
    masks[0, :, :4], masks[1, :, 4:] = True, True
    features = (masks.float() * 20 - 10).transpose(0, 1)
    embeddings = torch.tensor([[-1.0, -1.0], [0.0, 1.0], [1.0, 0.0]])
    cost = MatchingCost(num_points=50)(embeddings, features, masks)
    (match,) = linear_assignment([cost])
    assert match.queries.tolist() == [2, 1]


def test_a_network_that_diverged_is_stopped_here() -> None:
    features = torch.full((1, 2, 4, 4), torch.nan)
    cost = MatchingCost(num_points=5)(torch.ones(3, 2), features, torch.ones(1, 1, 4, 4) > 0)
    with pytest.raises(ValueError, match="video 'bear'"):
        linear_assignment([cost], names=["bear"])


def test_masks_of_other_frames_are_refused() -> None:
    with pytest.raises(ValueError, match=r"masks must be \(O, 2, H, W\)"):
        mask_costs(
            torch.zeros(3, 4), torch.zeros(2, 4, 3, 3), torch.zeros(1, 3, 6, 6), torch.rand(5, 2)
        )
