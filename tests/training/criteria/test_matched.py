from __future__ import annotations

import pytest
import torch

from segblocks.losses import PointMaskLoss
from segblocks.matching import Match, MatchingCost
from segblocks.training.criteria.matched import (
    class_terms,
    mask_terms,
    match_layers,
    matched_mask_losses,
)

FEATURES = torch.eye(4).view(4, 1, 2, 2).permute(1, 0, 2, 3)
# One object a corner of the frame; a query of the same corner is exactly right.
MASKS = torch.zeros(2, 1, 8, 8, dtype=torch.bool)
MASKS[0, 0, :4, :4] = True
MASKS[1, 0, 4:, 4:] = True
RIGHT = 20 * (2 * torch.eye(4) - 1)


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def matches_of(embeddings: torch.Tensor) -> list[Match]:
    cost = MatchingCost(num_points=64)
    return match_layers(
        cost, embeddings, FEATURES, MASKS, None, None, name="video", generator=generator()
    )


def test_each_prediction_is_matched_anew() -> None:
    shuffled = torch.tensor([3, 1, 0, 2])
    first, second = matches_of(torch.stack((RIGHT, RIGHT[shuffled])))
    assert dict(zip(first.targets.tolist(), first.queries.tolist(), strict=True)) == {0: 0, 1: 3}
    assert dict(zip(second.targets.tolist(), second.queries.tolist(), strict=True)) == {0: 2, 1: 0}


def test_a_cost_that_is_not_finite_names_the_video() -> None:
    with pytest.raises(ValueError, match="video"):
        matches_of(torch.full((1, 4, 4), torch.nan))


def test_masks_of_matched_queries_are_compared_with_their_objects() -> None:
    embeddings = RIGHT[None]
    loss = PointMaskLoss(num_points=64)
    right = Match(torch.tensor([0, 3]), torch.tensor([0, 1]))
    wrong = Match(torch.tensor([3, 0]), torch.tensor([0, 1]))
    totals = [
        sum(
            float(term.loss.total)
            for term in mask_terms(
                matched_mask_losses(
                    loss, embeddings, FEATURES, MASKS, [match], generator=generator()
                ),
                2,
            )
        )
        for match in (right, wrong)
    ]
    assert totals[0] < 0.5 * totals[1]


def test_losses_of_masks_are_divided_by_the_count() -> None:
    losses = PointMaskLoss(num_points=16)(
        RIGHT[[0, 3]], FEATURES, MASKS, torch.tensor([0, 1]), generator=generator()
    )
    mask, dice = mask_terms(losses, 6, prefix="object_")
    assert (mask.name, dice.name) == ("object_mask", "object_dice")
    assert (float(mask.loss.weight), float(dice.loss.weight)) == (6, 6)
    torch.testing.assert_close(dice.loss.total, losses.dice.sum())


def test_queries_without_an_object_are_of_the_last_class() -> None:
    match = Match(torch.tensor([1]), torch.tensor([0]))
    scores = torch.tensor([[0.0, 0.0, 30.0], [0.0, 30.0, 0.0]])
    wrong = scores.flip(0)
    labels = torch.tensor([1])
    found = class_terms([scores, wrong], labels, [match] * 2, no_object_weight=0.1)
    assert [(term.name, term.layer) for term in found] == [("class", 0), ("class", 1)]
    torch.testing.assert_close(found[0].loss.weight, torch.tensor(1.1))
    assert float(found[0].loss.total) < 1e-6
    torch.testing.assert_close(found[1].loss.total, torch.tensor(33.0))
