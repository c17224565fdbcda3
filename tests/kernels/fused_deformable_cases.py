"""Inputs and an independent oracle for the tests of fused deformable attention."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tests.kernels.deformable_cases import loop_oracle

# What reference points have dimensions for: None, queries, batches and queries, levels as well.
FORMS = ("tokens", "Q", "BQ", "BQL")


@dataclass(frozen=True)
class FusedCase:
    """Sizes of one problem, and the form of its reference points."""

    shapes: tuple[tuple[int, int], ...]
    dim: int
    points: int
    form: str = "tokens"
    queries: int = 9
    batch: int = 2
    heads: int = 2
    sigma: float = 2.0

    @property
    def tokens(self) -> int:
        return sum(h * w for h, w in self.shapes)

    def inputs(
        self,
        dtype: torch.dtype = torch.float64,
        device: str = "cpu",
        coordinates: torch.dtype | None = None,
    ) -> tuple[Tensor, Tensor | None, Tensor, Tensor]:
        """Value, reference points, offsets, logits; the same numbers each time."""
        options = {"generator": torch.Generator().manual_seed(0), "dtype": torch.float64}
        queries = self.tokens if self.form == "tokens" else self.queries
        samples = (self.batch, queries, self.heads, len(self.shapes), self.points)
        value = torch.randn((self.batch, self.tokens, self.heads, self.dim), **options)
        offsets = torch.randn((*samples, 2), **options) * self.sigma
        logits = torch.randn(samples, **options) * 2
        sizes = {"B": self.batch, "Q": queries, "L": len(self.shapes)}
        points = None
        if self.form != "tokens":
            points = torch.rand((*(sizes[d] for d in self.form), 2), **options) * 1.2 - 0.1
        precise = coordinates or torch.promote_types(dtype, torch.float32)
        moved = (t if t is None else t.to(device, precise) for t in (points, offsets, logits))
        return value.to(device, dtype), *moved


CASES = {
    "tokens of an empty level too, D=5, P=3": FusedCase(
        ((4, 5), (0, 3), (2, 9)), dim=5, points=3, batch=1
    ),
    "tokens, D=32, P=4": FusedCase(((3, 9), (2, 2)), dim=32, points=4, heads=1, batch=1),
    "points, D=24, P=1": FusedCase(((5, 7),), dim=24, points=1, form="Q"),
    "points of a batch, D=8": FusedCase(((4, 4), (2, 3)), dim=8, points=2, form="BQ"),
    "points of levels, many queries": FusedCase(
        ((3, 3), (6, 2)), dim=16, points=3, form="BQL", queries=67, heads=1, batch=1
    ),
}


def fused_oracle(
    case: FusedCase,
    value: np.ndarray,
    points: np.ndarray | None,
    offsets: np.ndarray,
    logits: np.ndarray,
) -> np.ndarray:
    """The definition: one query and level at a time to locations and weights."""
    weights = np.zeros_like(logits)
    locations = np.zeros_like(offsets)
    centres = [
        ((column + 0.5) / width, (row + 0.5) / height)
        for height, width in case.shapes
        for row in range(height)
        for column in range(width)
    ]
    for b, q, m in np.ndindex(*logits.shape[:3]):
        terms = [math.exp(logit) for logit in logits[b, q, m].ravel()]
        weights[b, q, m] = np.reshape(terms, logits.shape[3:]) / math.fsum(terms)
        for level, (height, width) in enumerate(case.shapes):
            index = {"Q": (q,), "BQ": (b, q), "BQL": (b, q, level)}.get(case.form)
            origin = centres[q] if index is None else points[index]
            if height * width:
                locations[b, q, m, level] = origin + offsets[b, q, m, level] / (width, height)
    return loop_oracle(value, case.shapes, locations, weights)
