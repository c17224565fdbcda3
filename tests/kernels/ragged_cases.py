"""Inputs and comparisons that the tests of ragged cross-attention share."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from segblocks_kernels import ragged_cross_attention

CUDA = pytest.param(
    "cuda",
    marks=[
        pytest.mark.gpu,
        pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA"),
    ],
)
# One process either interprets Triton or compiles it, so each test runs on one of these.
TRITON_DEVICES = [
    pytest.param(
        "cpu",
        marks=pytest.mark.skipif(
            os.environ.get("TRITON_INTERPRET") != "1", reason="Triton is not interpreted"
        ),
    ),
    CUDA,
]


class Inputs(NamedTuple):
    q: Tensor
    k: Tensor
    v: Tensor
    indices: Tensor
    offsets: Tensor
    bias: Tensor | None

    @property
    def leaves(self) -> list[Tensor]:
        """What a gradient can be taken of."""
        return [x for x in (self.q, self.k, self.v, self.bias) if x is not None]

    def exact(self) -> Inputs:
        """The same numbers in float64."""
        return Inputs(*[x.double() if x is not None and x.is_floating_point() else x for x in self])


def make(
    lengths: Sequence[int],
    keys: int = 6,
    heads: int = 2,
    dim: int = 4,
    dtype: torch.dtype = torch.float64,
    device: str = "cpu",
) -> Inputs:
    """Random inputs; keys repeat, and the bias has at least float32."""
    generator = torch.Generator().manual_seed(sum(lengths))

    def randn(*size: int) -> Tensor:
        return torch.randn(size, generator=generator, dtype=torch.float64)

    q, k, v = randn(len(lengths), heads, dim), *randn(2, keys, heads, dim)
    edges = sum(lengths)
    indices = torch.randint(max(keys, 1), (edges,), generator=generator)
    offsets = torch.tensor([0, *lengths]).cumsum(0)
    q, k, v = (x.to(device, dtype) for x in (q, k, v))
    bias = randn(edges).to(device, torch.promote_types(dtype, torch.float32))
    return Inputs(q, k, v, indices.to(device), offsets.to(device), bias)


def with_grads(inputs: Inputs, backend: str, **settings: float) -> list[Tensor]:
    """The output and all gradients, for a gradient of the output that depends on it."""
    leaves = [x.detach().requires_grad_() for x in inputs.leaves]
    q, k, v, *bias = leaves
    lists = inputs.indices, inputs.offsets, *(bias or [None])
    out = ragged_cross_attention(q, k, v, *lists, backend=backend, **settings)
    grads = torch.autograd.grad(out.double().square().sum(), leaves)
    return [out.detach(), *grads]


def assert_close(got: list[Tensor], want: list[Tensor], bound: float) -> None:
    """Compare by the norm of the error."""
    for a, b in zip(got, want, strict=True):
        assert a.shape == b.shape
        # What cancels exactly in float64 may be as large as the rounding of its parts.
        assert float((a.double() - b).norm()) <= bound * (float(b.norm()) + 1e-1)
