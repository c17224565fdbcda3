from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from segblocks.losses import LossSum, class_cross_entropy, class_targets, focal_loss

F64 = torch.float64


def slow_cross_entropy(logits: Tensor, targets: Tensor, weight: float) -> tuple[float, float]:
    total, weights = 0.0, 0.0
    for row, target in zip(logits.tolist(), targets.tolist(), strict=True):
        w = weight if target == len(row) - 1 else 1.0
        total += w * (math.log(sum(math.exp(x) for x in row)) - row[target])
        weights += w
    return total, weights


@pytest.mark.parametrize("weight", [0.1, 1.0])
def test_cross_entropy_equals_the_loop(weight: float) -> None:
    logits, targets = torch.randn(2, 5, 4, dtype=F64), torch.randint(0, 4, (2, 5))
    logits[0, :, 1] = -torch.inf
    targets[0] = targets[0].where(targets[0] != 1, 3)
    logits.requires_grad_()
    loss = class_cross_entropy(logits, targets, no_object_weight=weight)
    expected = slow_cross_entropy(logits.flatten(0, 1), targets.flatten(), weight)
    assert float(loss.total.detach()) == pytest.approx(expected[0])
    assert float(loss.weight) == pytest.approx(expected[1])
    assert float(loss.mean.detach()) == pytest.approx(expected[0] / expected[1])
    loss.mean.backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_parts_add_up_to_the_batch() -> None:
    logits, targets = torch.randn(8, 4, dtype=F64), torch.randint(0, 4, (8,))
    whole = class_cross_entropy(logits, targets)
    parts = [class_cross_entropy(logits[i], targets[i]) for i in (slice(0, 3), slice(3, 8))]
    together = sum(part.total for part in parts) / sum(part.weight for part in parts)
    torch.testing.assert_close(together, whole.mean)


def test_no_queries_give_nothing() -> None:
    logits = torch.zeros(0, 4, requires_grad=True)
    loss = class_cross_entropy(logits, torch.zeros(0, dtype=torch.int64)).mean
    loss.backward()
    assert float(loss.detach()) == 0.0


def test_mean_without_weight_is_zero_and_keeps_the_graph() -> None:
    x = torch.ones((), requires_grad=True)
    mean = LossSum(x * 0, torch.tensor(0)).mean
    mean.backward()
    assert float(mean.detach()) == 0.0
    assert x.grad == 0


def test_unmatched_queries_have_no_object() -> None:
    assert class_targets(3, 9, torch.tensor([1]), torch.tensor([4])).tolist() == [9, 4, 9]
    empty = torch.zeros(0, dtype=torch.int64)
    assert class_targets(2, 9, empty, empty).tolist() == [9, 9]


@pytest.mark.parametrize(("alpha", "gamma"), [(0.25, 2.0), (0.5, 2.0), (None, 0.0), (0.9, 1.5)])
def test_focal_loss_equals_the_loop(alpha: float | None, gamma: float) -> None:
    logits, targets = torch.randn(40, dtype=F64) * 3, (torch.rand(40) > 0.5).double()
    loss = focal_loss(logits, targets, alpha=alpha, gamma=gamma)
    for x, y, value in zip(logits.tolist(), targets.tolist(), loss.tolist(), strict=True):
        p = 1 / (1 + math.exp(-x))
        p_true = p if y else 1 - p
        weight = 1.0 if alpha is None else alpha if y else 1 - alpha
        assert value == pytest.approx(-weight * (1 - p_true) ** gamma * math.log(p_true))


def test_focal_loss_of_extreme_and_of_missing_classes() -> None:
    logits = torch.tensor([200.0, -200.0, -torch.inf, 200.0], requires_grad=True)
    loss = focal_loss(logits, torch.tensor([1.0, 0.0, 0.0, 0.0]), alpha=0.5)
    assert loss.tolist() == [0.0, 0.0, 0.0, 100.0]
    loss.sum().backward()
    assert logits.grad is not None
    assert logits.grad.tolist() == [0.0, 0.0, 0.0, 0.5]


def test_wrong_shapes_are_named() -> None:
    with pytest.raises(ValueError, match=r"targets must be \(3,\)"):
        class_cross_entropy(torch.zeros(3, 4), torch.zeros(2, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"targets must be \(3,\)"):
        focal_loss(torch.zeros(3), torch.zeros(2))
