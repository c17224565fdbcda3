"""Shapes and calls that the tests of space-time attention share."""

from __future__ import annotations

import itertools
import math
import os
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from segblocks_kernels import space_time_attention

NO_CUDA = not torch.cuda.is_available()
# One process either interprets Triton or compiles it, so each test runs on one of these.
DEVICES = [
    pytest.param(
        "cpu",
        marks=pytest.mark.skipif(
            os.environ.get("TRITON_INTERPRET") != "1", reason="Triton is not interpreted"
        ),
    ),
    pytest.param("cuda", marks=[pytest.mark.gpu, pytest.mark.skipif(NO_CUDA, reason="no CUDA")]),
]


class Case(NamedTuple):
    batch: int
    frames: int
    shapes: list[tuple[int, int]]
    cells: list[int | None]
    heads: int
    dim: int

    @property
    def tokens(self) -> int:
        return sum(h * w for h, w in self.shapes)


CASES = {
    "even": Case(1, 2, [(1, 2), (2, 4), (4, 8)], [1, 2, 4], 2, 32),
    "ragged": Case(2, 1, [(2, 3), (3, 5)], [1, 2], 1, 24),
    "level_out": Case(1, 2, [(3, 2), (5, 3), (4, 2)], [2, None, 2], 1, 16),
    "one_cell_mostly_outside": Case(1, 1, [(1, 2)], [12], 1, 16),
    "empty_level": Case(1, 2, [(0, 4), (3, 3)], [4, 2], 1, 20),
    "one_token": Case(1, 1, [(1, 1)], [1], 3, 16),
    "more_slots_than_a_tile": Case(1, 5, [(4, 4)], [4], 1, 33),
}


def make_qkv(case: Case, layout: str, dtype: torch.dtype, device: str = "cpu") -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    sizes = (case.batch, case.frames, case.tokens, 3, case.heads, case.dim)
    packed = torch.randn(sizes, generator=generator, dtype=torch.float64).to(device, dtype)
    if layout == "packed":
        return list(packed.unbind(3))
    if layout == "permuted":  # dense, but with the head dim outermost
        return [
            x.permute(4, 1, 0, 3, 2).contiguous().permute(2, 1, 4, 3, 0) for x in packed.unbind(3)
        ]
    return [x.contiguous() for x in packed.unbind(3)]


def call(case: Case, qkv: list[Tensor], **kwargs) -> Tensor:
    return space_time_attention(*qkv, case.shapes, case.cells, **kwargs)


def call_operator(case: Case, qkv: list[Tensor], backend: str) -> Tensor:
    """Past the public function, which does without the operator where the reference runs."""
    shapes = [size for shape in case.shapes for size in shape]
    sides = [cell or 0 for cell in case.cells]
    operator = torch.ops.segblocks.space_time_attention.default
    return operator(*qkv, shapes, sides, case.dim**-0.5, backend)[0]


def with_grads(case: Case, qkv: list[Tensor], weight: Tensor, **kwargs) -> list[Tensor]:
    """Output and the three gradients."""
    leaves = [x.detach().requires_grad_() for x in qkv]
    out = call(case, leaves, **kwargs)
    return [out.detach(), *torch.autograd.grad(out, leaves, weight.to(out))]


def cell_members(case: Case) -> dict[tuple[int, int], list[int]]:
    members: dict[tuple[int, int], list[int]] = {}
    start = 0
    for (height, width), cell in zip(case.shapes, case.cells, strict=True):
        for y, x in itertools.product(range(height), range(width)):
            if cell is not None:
                members.setdefault((y // cell, x // cell), []).append(start + y * width + x)
        start += height * width
    return members


def loop_oracle(case: Case, q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
    out = torch.zeros_like(q)
    for b, m in itertools.product(range(case.batch), range(case.heads)):
        for members in cell_members(case).values():
            group = [(t, n) for t in range(case.frames) for n in members]
            for t, n in group:
                scores = [float(q[b, t, n, m] @ k[b, s, j, m]) * scale for s, j in group]
                peak = max(scores)
                weights = [math.exp(score - peak) for score in scores]
                for weight, (s, j) in zip(weights, group, strict=True):
                    out[b, t, n, m] += weight / sum(weights) * v[b, s, j, m]
    return out


def error_ratio(got: Tensor, want: Tensor) -> float:
    """Root mean square of the error over that of what was wanted."""
    want = want.to(torch.float64)
    error = (got.to(torch.float64) - want).norm()
    return float(error / want.norm()) if want.norm() > 0 else float(error)
