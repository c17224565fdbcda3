"""Ragged cross-attention against gathering under autograd, and against padded lists."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from segblocks_kernels import ragged_cross_attention


class Edges(NamedTuple):
    indices: Tensor
    offsets: Tensor
    bias: Tensor


# Rows of an object encoder: 16 background cells with many points, queries of objects with few.
ON_CPU = {"16x1000_and_32x150": [1000] * 16 + [150] * 32}
ON_CUDA = {"16x16384_and_32x2000": [16384] * 16 + [2000] * 32}
WHERE = [("cpu", name) for name in ON_CPU]
WHERE += [
    pytest.param(
        "cuda",
        name,
        marks=[
            pytest.mark.gpu,
            pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
        ],
    )
    for name in ON_CUDA
]
NUM_KEYS = 28672


def make_edges(lengths: list[int], device: str) -> Edges:
    indices = torch.cat([torch.randperm(NUM_KEYS)[:length] for length in lengths])
    counts = torch.randint(1, 17, indices.shape).float()
    offsets = torch.tensor([0, *lengths]).cumsum(0)
    return Edges(indices.to(device), offsets.to(device), counts.log().to(device))


def gathered(q: Tensor, k: Tensor, v: Tensor, edges: Edges) -> Tensor:
    lengths = edges.offsets.diff()
    rows = torch.repeat_interleave(
        torch.arange(len(q), device=q.device), lengths, output_size=len(edges.indices)
    )
    scores = (q[rows] * k[edges.indices]).sum(-1) * q.shape[-1] ** -0.5 + edges.bias[:, None]
    peak = scores.new_full((len(q), q.shape[1]), -torch.inf)
    peak = peak.index_reduce(0, rows, scores.detach(), "amax")
    weights = (scores - peak[rows]).exp()
    total = weights.new_zeros(len(q), q.shape[1]).index_add(0, rows, weights)
    values = (weights / total[rows]).unsqueeze(-1) * v[edges.indices]
    return torch.zeros_like(q).index_add(0, rows, values)


def padded(q: Tensor, k: Tensor, v: Tensor, edges: Edges) -> Tensor:
    lengths = edges.offsets.diff()
    slots = torch.arange(int(lengths.max()), device=q.device)
    real = slots < lengths[:, None]
    place = torch.where(real, edges.offsets[:-1, None] + slots, 0)
    bias = edges.bias[place].masked_fill(~real, -torch.inf)[:, None, None]
    keys, values = (x[edges.indices[place]].transpose(1, 2) for x in (k, v))
    return F.scaled_dot_product_attention(q.unsqueeze(2), keys, values, attn_mask=bias).squeeze(2)


def ours(q: Tensor, k: Tensor, v: Tensor, edges: Edges) -> Tensor:
    return ragged_cross_attention(q, k, v, *edges)


CONTENDERS: dict[str, Callable[..., Tensor]] = {
    "ours": ours,
    "gathered": gathered,
    "padded": padded,
}


@pytest.mark.parametrize("direction", ["forward", "forward_backward"])
@pytest.mark.parametrize("contender", CONTENDERS)
@pytest.mark.parametrize(("device", "name"), WHERE)
def bench_ragged_cross_attention(name, contender, direction, device, bench, benchmark):
    lengths = (ON_CPU | ON_CUDA)[name]
    benchmark.group = f"ragged_cross_attention {name} {direction} {device}"
    edges = make_edges(lengths, device)
    q = torch.randn(len(lengths), 8, 32, device=device)
    k, v = torch.randn(2, NUM_KEYS, 8, 32, device=device)
    leaves = [x.requires_grad_(direction == "forward_backward") for x in (q, k, v)]
    with torch.no_grad():
        want = ours(q, k, v, edges)
        got = CONTENDERS[contender](q, k, v, edges)
        torch.testing.assert_close(got, want, rtol=1e-3, atol=1e-4)
    weight = torch.randn_like(want)

    def forward() -> Tensor:
        return CONTENDERS[contender](q, k, v, edges)

    def forward_backward() -> tuple[Tensor, ...]:
        return torch.autograd.grad(forward(), leaves, weight)

    bench(forward if direction == "forward" else forward_backward)
