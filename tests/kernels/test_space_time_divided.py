"""Divided space-time attention: through time alone, and through space alone."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from segblocks_kernels import space_time_attention
from tests.kernels.space_time_cases import DEVICES

SHAPE = (2, 3)


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """One head's tokens (n, D), all to all."""
    return (q @ k.T / q.shape[-1] ** 0.5).softmax(-1) @ v


@pytest.fixture
def qkv():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(3, 2, 4, 6, 2, 16, generator=generator, dtype=torch.float64).unbind(0)


def run(qkv, cell: int, backend: str, device: str) -> Tensor:
    inputs = [x.to(device, torch.float32) for x in qkv]
    return space_time_attention(*inputs, [SHAPE], (cell,), backend=backend).double().cpu()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("backend", ["reference", "triton"])
def test_through_time(qkv, backend, device):
    want = torch.empty_like(qkv[0])
    for b, n, m in itertools.product(range(2), range(6), range(2)):
        want[b, :, n, m] = attend(*(x[b, :, n, m] for x in qkv))
    torch.testing.assert_close(run(qkv, 1, backend, device), want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("backend", ["reference", "triton"])
def test_through_space(qkv, backend, device):
    want = torch.empty_like(qkv[0])
    for b, t, m in itertools.product(range(2), range(4), range(2)):
        want[b, t, :, m] = attend(*(x[b, t, :, m] for x in qkv))
    frames = [x.flatten(0, 1)[:, None] for x in qkv]
    got = run(frames, max(SHAPE), backend, device).view_as(want)
    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-6)
