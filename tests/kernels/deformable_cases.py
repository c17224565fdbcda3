"""Inputs and an independent oracle for the tests of deformable attention."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Case:
    """Sizes of one problem; few queries keep the interpreter fast."""

    shapes: tuple[tuple[int, int], ...]
    dim: int
    points: int
    queries: int = 9
    batch: int = 2
    heads: int = 2

    def inputs(
        self,
        dtype: torch.dtype = torch.float64,
        device: str = "cpu",
        coordinates: torch.dtype | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Value, locations (a quarter of them outside), weights; the same numbers each time."""
        generator = torch.Generator().manual_seed(0)
        tokens = sum(h * w for h, w in self.shapes)
        samples = (self.batch, self.queries, self.heads, len(self.shapes), self.points)
        options = {"generator": generator, "dtype": torch.float64}
        value = torch.randn((self.batch, tokens, self.heads, self.dim), **options)
        locations = torch.rand((*samples, 2), **options) * 1.3 - 0.15
        weights = torch.randn(samples, **options)
        precise = coordinates or torch.promote_types(dtype, torch.float32)
        return (
            value.to(device, dtype),
            locations.to(device, precise),
            weights.to(device, precise),
        )


CASES = {
    "one level, D=24, P=1": Case(((5, 7),), dim=24, points=1),
    "two levels, D=32, P=3": Case(((6, 4), (3, 2)), dim=32, points=3),
    "an empty level, D=5, P=4": Case(((4, 5), (0, 3), (2, 2)), dim=5, points=4, batch=1),
    "four levels, one query": Case(
        ((4, 4), (2, 3), (1, 2), (1, 1)), dim=8, points=4, queries=1, batch=1
    ),
    "more queries than a block": Case(((3, 3),), dim=16, points=1, queries=67, heads=1),
}


def loop_oracle(
    value: np.ndarray,
    shapes: tuple[tuple[int, int], ...],
    locations: np.ndarray,
    weights: np.ndarray,
) -> np.ndarray:
    """The definition, one sample and one corner at a time."""
    batch, _, heads, dim = value.shape
    queries = locations.shape[1]
    out = np.zeros((batch, queries, heads, dim))
    for b, q, m, level, p in np.ndindex(*weights.shape):
        height, width = shapes[level]
        start = sum(h * w for h, w in shapes[:level])
        x = locations[b, q, m, level, p, 0] * width - 0.5
        y = locations[b, q, m, level, p, 1] * height - 0.5
        for row in (math.floor(y), math.floor(y) + 1):
            for column in (math.floor(x), math.floor(x) + 1):
                if 0 <= row < height and 0 <= column < width:
                    share = (1 - abs(y - row)) * (1 - abs(x - column))
                    token = value[b, start + row * width + column, m]
                    out[b, q, m] += weights[b, q, m, level, p] * share * token
    return out.reshape(batch, queries, heads * dim)


def relative_error(got: Tensor, want: Tensor) -> float:
    """Norm of the difference over the norm of what was wanted."""
    got, want = got.double().cpu(), want.double().cpu()
    norm = want.norm().item()
    return (got - want).norm().item() / (norm if norm > 0 else 1.0)
