"""The losses on a taxonomy against loops in float64."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from segblocks.losses import TaxonomyMatchingLoss, presence_loss
from segblocks.matching import MatchingCost, linear_assignment, seeded_generator

LAYERS, QUERIES, CLASSES = 3, 5, 4


def scene() -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    embeddings = torch.randn(LAYERS, QUERIES, 6).double()
    features = torch.randn(2, 6, 4, 5).double()
    masks = torch.rand(2, 2, 16, 20) > 0.5
    logits = 2 * torch.randn(LAYERS, QUERIES, CLASSES + 1).double()
    return embeddings, features, masks, logits, torch.tensor([3, 1])


def test_presence_is_the_entropy_of_the_known_classes() -> None:
    logits = torch.tensor([[2.0, -1.0, -torch.inf], [0.5, 30.0, 0.0]]).double().requires_grad_()
    present = torch.tensor([[True, False, False], [False, True, False]])
    loss = presence_loss(logits, present)
    by_hand = sum(
        math.log(1 + math.exp(-value if there else value))
        for row, known in zip(logits.tolist(), present.tolist(), strict=True)
        for value, there in zip(row, known, strict=True)
        if value != -math.inf
    )
    assert loss.weight == 5
    torch.testing.assert_close(loss.total.item(), by_hand)
    loss.mean.backward()
    expected = (logits.detach().sigmoid() - present.double()) / 5
    expected[0, 2] = 0
    torch.testing.assert_close(logits.grad, expected)


def test_presence_of_no_known_class_is_nothing() -> None:
    logits = torch.full((1, 3), -torch.inf, requires_grad=True)
    loss = presence_loss(logits, torch.zeros(1, 3, dtype=torch.bool)).mean
    loss.backward()
    assert loss == 0
    assert not logits.grad.isnan().any()


def test_each_injection_is_matched_anew_with_masks_and_classes() -> None:
    embeddings, features, masks, logits, labels = scene()
    cost = MatchingCost(num_points=64)
    sums = TaxonomyMatchingLoss(cost)(
        embeddings, features, masks, logits, labels, generator=seeded_generator(1)
    )
    together = cost(
        embeddings.flatten(0, 1),
        features,
        masks,
        logits.flatten(0, 1),
        labels,
        generator=seeded_generator(1),
    ).unflatten(0, (LAYERS, QUERIES))
    assert len(sums) == LAYERS
    for layer in range(LAYERS):
        best = min(
            itertools.permutations(range(QUERIES), 2),
            key=lambda pair: float(together[layer, pair[0], 0] + together[layer, pair[1], 1]),
        )
        classes = {best[0]: 3, best[1]: 1}
        total = weight = 0.0
        for query in range(QUERIES):
            target = classes.get(query, CLASSES)
            each = 0.1 if target == CLASSES else 1.0
            total -= each * float(logits[layer, query].log_softmax(0)[target])
            weight += each
        torch.testing.assert_close(float(sums[layer].total), total)
        torch.testing.assert_close(float(sums[layer].weight), weight)


def test_matching_by_classes_alone_and_given_matches() -> None:
    embeddings, features, masks, logits, labels = scene()
    loss = TaxonomyMatchingLoss(MatchingCost(mask_weight=0, dice_weight=0, num_points=16))
    sums = loss(embeddings, features, masks, logits, labels)
    costs = -logits.softmax(-1)[..., labels]
    matches = linear_assignment(costs)
    given = loss(embeddings, features, masks, logits, labels, matches=matches)
    for a, b in zip(sums, given, strict=True):
        torch.testing.assert_close(a.mean, b.mean)


def test_masks_get_no_gradient_and_classes_out_of_the_vocabulary_none() -> None:
    embeddings, features, masks, logits, labels = scene()
    embeddings.requires_grad_()
    blocked = logits.clone()
    blocked[..., 2] = -torch.inf
    blocked.requires_grad_()
    sums = TaxonomyMatchingLoss(MatchingCost(num_points=16))(
        embeddings, features, masks, blocked, labels
    )
    sum(s.mean for s in sums).backward()
    assert embeddings.grad is None
    assert not blocked.grad[..., 2].any()
    assert blocked.grad[..., [0, 1, 3, 4]].abs().min() > 0


def test_wrong_arguments_are_named() -> None:
    embeddings, features, masks, logits, labels = scene()
    loss = TaxonomyMatchingLoss(MatchingCost(num_points=16))
    with pytest.raises(ValueError, match="embeddings must be of 3 predictions of 5 queries"):
        loss(embeddings[:2], features, masks, logits, labels)
    with pytest.raises(ValueError, match="matches must be as many as the 3 predictions, got 0"):
        loss(embeddings, features, masks, logits, labels, matches=[])
    with pytest.raises(ValueError, match=r"present must be boolean \(3,\), got \(2,\)"):
        presence_loss(torch.zeros(3), torch.ones(2, dtype=torch.bool))
