"""Ragged cross-attention against gathering, padding, a loop over the rows, and xformers."""

from __future__ import annotations

import importlib.util
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
WHERE = [("cpu", name, torch.float32) for name in ON_CPU]
WHERE += [
    pytest.param(
        "cuda",
        name,
        dtype,
        marks=[
            pytest.mark.gpu,
            pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
        ],
    )
    for name in ON_CUDA
    for dtype in (torch.float32, torch.bfloat16)
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
    return values.new_zeros(q.shape).index_add(0, rows, values).to(q.dtype)


def padded(q: Tensor, k: Tensor, v: Tensor, edges: Edges) -> Tensor:
    lengths = edges.offsets.diff()
    slots = torch.arange(int(lengths.max()), device=q.device)
    real = slots < lengths[:, None]
    place = torch.where(real, edges.offsets[:-1, None] + slots, 0)
    bias = edges.bias[place].masked_fill(~real, -torch.inf)[:, None, None].to(q.dtype)
    keys, values = (x[edges.indices[place]].transpose(1, 2) for x in (k, v))
    return F.scaled_dot_product_attention(q.unsqueeze(2), keys, values, attn_mask=bias).squeeze(2)


def looped(q: Tensor, k: Tensor, v: Tensor, edges: Edges) -> Tensor:
    lengths = edges.offsets.diff().tolist()
    indices, biases = edges.indices.split(lengths), edges.bias.to(q.dtype).split(lengths)
    rows = []
    for query, index, bias in zip(q, indices, biases, strict=True):
        keys, values = (x[index].transpose(0, 1) for x in (k, v))
        mask = bias[None, None]
        rows.append(F.scaled_dot_product_attention(query[:, None], keys, values, attn_mask=mask))
    return torch.stack(rows).squeeze(2)


def xformers(q: Tensor, k: Tensor, v: Tensor, edges: Edges) -> Tensor:
    return ragged_cross_attention(q, k, v, *edges, backend="xformers")


def ours(q: Tensor, k: Tensor, v: Tensor, edges: Edges) -> Tensor:
    return ragged_cross_attention(q, k, v, *edges)


CONTENDERS: dict[str, Callable[..., Tensor]] = {
    "ours": ours,
    "gathered": gathered,
    "padded": padded,
    "looped": looped,
    "xformers": xformers,
}
# Fractions of what is compared, by the rounding of inputs and sums.
TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 3e-2}


@pytest.mark.parametrize("direction", ["forward", "forward_backward"])
@pytest.mark.parametrize("contender", CONTENDERS)
@pytest.mark.parametrize(("device", "name", "dtype"), WHERE)
def bench_ragged_cross_attention(name, dtype, contender, direction, device, bench, benchmark):
    if contender == "xformers" and device == "cpu":
        pytest.skip("the operators of xformers run on CUDA only")
    if contender == "xformers" and importlib.util.find_spec("xformers") is None:
        pytest.skip("xformers is not installed")
    lengths = (ON_CPU | ON_CUDA)[name]
    benchmark.group = f"ragged_cross_attention {name} {direction} {device} {dtype}"
    edges = make_edges(lengths, device)
    q = torch.randn(len(lengths), 8, 32, device=device, dtype=dtype)
    k, v = torch.randn(2, NUM_KEYS, 8, 32, device=device, dtype=dtype)
    leaves = [x.requires_grad_(direction == "forward_backward") for x in (q, k, v)]
    with torch.no_grad():
        want = ours(q, k, v, edges)
        got = CONTENDERS[contender](q, k, v, edges)
        assert (got - want).norm() < TOLERANCE[dtype] * want.norm()
    weight = torch.randn_like(want)

    def forward() -> Tensor:
        return CONTENDERS[contender](q, k, v, edges)

    def forward_backward() -> tuple[Tensor, ...]:
        return torch.autograd.grad(forward(), leaves, weight)

    bench(forward if direction == "forward" else forward_backward)
