"""Given what is matched with what, losses compile whole, forward and backward."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from segblocks.losses import (
    class_cross_entropy,
    class_targets,
    cosine_auxiliary,
    focal_loss,
    info_nce,
    pair_contrast,
    point_mask_losses,
)


def of_classes(logits: Tensor, queries: Tensor, labels: Tensor) -> Tensor:
    targets = class_targets(len(logits), logits.shape[1] - 1, queries, labels)
    focal = focal_loss(logits, torch.zeros_like(logits)).sum()
    return class_cross_entropy(logits, targets).mean + focal


def of_pairs(embeddings: Tensor, queries: Tensor, labels: Tensor) -> Tensor:
    keys = embeddings[queries]
    same = labels[:, None] == labels
    contrast = info_nce(keys, keys, same) + pair_contrast(keys @ keys.T, same)
    return contrast + cosine_auxiliary(keys, keys, same)


FEATURES, MASKS = torch.randn(2, 6, 6, 7), torch.rand(5, 2, 12, 14) > 0.5
POINTS = torch.rand(3, 2, 16, 2)


def of_masks(embeddings: Tensor, queries: Tensor, labels: Tensor) -> Tensor:
    losses = point_mask_losses(embeddings[queries], FEATURES, MASKS, labels, points=POINTS)
    return (losses.cross_entropy + losses.dice).sum()


@pytest.mark.parametrize("loss", [of_classes, of_pairs, of_masks])
def test_losses_compile_whole(loss: Callable[..., Tensor]) -> None:
    torch.manual_seed(0)
    values = torch.randn(9, 6, requires_grad=True)
    queries, labels = torch.tensor([7, 2, 4]), torch.tensor([3, 1, 3])
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    want, got = loss(values, queries, labels), compiled(values, queries, labels)
    torch.testing.assert_close(got, want)
    torch.testing.assert_close(*(torch.autograd.grad(x, values)[0] for x in (got, want)))
