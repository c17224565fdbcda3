"""Slow transcriptions in float64, a pixel and a point at a time."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def dense_logits(embeddings: Tensor, features: Tensor) -> Tensor:
    """(N, C) or (N, T, C) with (T, C, h, w): (N, T, h, w)."""
    if embeddings.dim() == 2:
        embeddings = embeddings[:, None].expand(-1, len(features), -1)
    return torch.einsum("ntc,tchw->nthw", embeddings.double(), features.double())


def bilinear(image: Tensor, x: float, y: float) -> Tensor:
    """One sample of (h, w) at (x, y) in [0, 1], zeros beyond."""
    h, w = image.shape
    column, row = x * w - 0.5, y * h - 0.5
    total = image.new_zeros((), dtype=torch.float64)
    for i in (math.floor(row), math.floor(row) + 1):
        for j in (math.floor(column), math.floor(column) + 1):
            if 0 <= i < h and 0 <= j < w:
                weight = (1 - abs(row - i)) * (1 - abs(column - j))
                total = total + weight * image[i, j].double()
    return total


def sample(maps: Tensor, points: Tensor) -> Tensor:
    """Maps (N, T, h, w) at points (N, T, P, 2), (T, P, 2) or (P, 2): (N, T, P)."""
    n, frames = maps.shape[:2]
    points = points.double().expand(n, frames, *points.shape[-2:])
    rows = [
        torch.stack([bilinear(maps[i, t], float(x), float(y)) for x, y in points[i, t]])
        for i in range(n)
        for t in range(frames)
    ]
    return torch.stack(rows).view(n, frames, -1)


def bce(logit: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy of one logit."""
    p = 1 / (1 + torch.exp(-logit))
    return -(target * torch.log(p) + (1 - target) * torch.log(1 - p))


def dice(logits: Tensor, targets: Tensor) -> Tensor:
    """Dice loss of one mask's points."""
    p = 1 / (1 + torch.exp(-logits))
    return 1 - (2 * (p * targets).sum() + 1) / (p.sum() + targets.sum() + 1)
