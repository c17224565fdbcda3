"""Recognising objects: the losses against loops over anchors and keys."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from segblocks.losses import hardest_pairs_losses, reidentification_losses


def make(anchors: int, keys: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    a = torch.randn(2, anchors, 8, generator=g, dtype=torch.float64) * 3
    k = torch.randn(2, keys, 8, generator=g, dtype=torch.float64) * 3
    of_a, of_k = (torch.randint(3, (2, n), generator=g) for n in (anchors, keys))
    pairs = torch.rand(2, anchors, keys, generator=g) > 0.2
    return a, k, of_a[:, :, None] == of_k[:, None], pairs


def cosine_loss(x: Tensor, y: Tensor, same: bool) -> float:
    apart = abs(max(float(torch.cosine_similarity(x, y, dim=0)), 0.0) - same)
    return apart**2 / 2 if apart < 1 else apart - 0.5


def test_few_keys_are_all_compared() -> None:
    a, k, positives, pairs = make(6, 5)
    losses = reidentification_losses(a, k, positives, pairs)
    for b in range(2):
        rows, cosines = [], []
        for i in range(6):
            sims = [float(a[b, i] @ k[b, j]) / math.sqrt(8) for j in range(5)]
            own = [s for j, s in enumerate(sims) if pairs[b, i, j] and positives[b, i, j]]
            other = [s for j, s in enumerate(sims) if pairs[b, i, j] and not positives[b, i, j]]
            cosines += [
                cosine_loss(a[b, i], k[b, j], bool(positives[b, i, j]))
                for j in range(5)
                if pairs[b, i, j]
            ]
            if own:
                two = (own[0], sum(own) / len(own))
                total = sum(math.exp(min(o - p, 10)) for o in other for p in two)
                rows.append(math.log1p(total))
        assert int(losses.contrast.weight[b]) == len(rows)
        assert float(losses.contrast.total[b]) == pytest.approx(sum(rows))
        assert int(losses.auxiliary.weight[b]) == len(cosines)
        assert float(losses.auxiliary.total[b]) == pytest.approx(sum(cosines))


def test_of_many_keys_some_are_drawn() -> None:
    a, k, positives, pairs = make(4, 200)
    losses = reidentification_losses(a, k, positives, pairs, generator=torch.Generator())
    # At most 15 that are a positive of some anchor, and 5 others.
    assert int(losses.auxiliary.weight.max()) <= 4 * 20
    again = reidentification_losses(a, k, positives, pairs, generator=torch.Generator())
    assert torch.equal(losses.contrast.total, again.contrast.total)


def test_nothing_to_compare_is_no_loss() -> None:
    a, k, positives, pairs = make(4, 200)
    a.requires_grad_(True)
    none = torch.zeros_like(pairs)
    for found in (
        reidentification_losses(a, k, positives, none),
        reidentification_losses(a, k, none, pairs),
        hardest_pairs_losses(a, none[..., :4], none[..., :4]),
        hardest_pairs_losses(a[:, :0], none[:, :0, :0], none[:, :0, :0]),
    ):
        assert float(found.contrast.mean.detach().sum()) == 0
        (grad,) = torch.autograd.grad(found.contrast.total.sum() + found.auxiliary.total.sum(), a)
        assert grad.isfinite().all()


def test_hardest_pairs() -> None:
    a, _, positives, pairs = make(7, 7, seed=3)
    losses = hardest_pairs_losses(a, positives, pairs, num_positives=2, num_negatives=3)
    for b in range(2):
        rows = []
        for i in range(7):
            sims = [float(a[b, i] @ a[b, j]) / math.sqrt(8) for j in range(7)]
            own = sorted(s for j, s in enumerate(sims) if pairs[b, i, j] and positives[b, i, j])
            other = sorted(
                (s for j, s in enumerate(sims) if pairs[b, i, j] and not positives[b, i, j]),
                reverse=True,
            )
            if own:
                total = sum(math.exp(min(o - p, 10)) for o in other[:3] for p in own[:2])
                rows.append(math.log1p(total))
        assert int(losses.contrast.weight[b]) == len(rows)
        assert float(losses.contrast.total[b]) == pytest.approx(sum(rows))


def test_shapes_are_checked() -> None:
    a, k, positives, pairs = make(4, 5)
    with pytest.raises(ValueError, match=r"positives must be bool \(2, 4, 5\), got \(2, 4, 4\)"):
        reidentification_losses(a, k, positives[..., :4], pairs)
