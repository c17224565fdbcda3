"""Ragged cross-attention against gathering under autograd, padding, a loop, and xformers."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from segblocks.bench.shapes import RAGGED, Ragged
from segblocks.bench.suite import (
    OURS,
    TOLERANCE,
    Contender,
    Problem,
    Setting,
    Suite,
    xformers_unavailable,
)
from segblocks.ops import ragged_cross_attention


class _Given(NamedTuple):
    """Edges: the keys of all rows (E,), where rows begin (R + 1,), and a bias on each (E,)."""

    indices: Tensor
    offsets: Tensor
    bias: Tensor


def _make(shape: Ragged, setting: Setting) -> Problem:
    generator = torch.Generator().manual_seed(0)
    lengths = [shape.background_points] * shape.background + [shape.object_points] * shape.objects
    picked = [torch.randperm(shape.keys, generator=generator)[:length] for length in lengths]
    counts = torch.randint(1, 17, (sum(lengths),), generator=generator).float()
    edges = (torch.cat(picked), torch.tensor([0, *lengths]).cumsum(0), counts.log())

    def draw(rows: int) -> Tensor:
        x = torch.randn(rows, shape.heads, shape.dim, generator=generator)
        return x.to(setting.device, setting.torch_dtype)

    tensors = draw(len(lengths)), draw(shape.keys), draw(shape.keys)
    return Problem(tensors, _Given(*(x.to(setting.device) for x in edges)))


def _with_backend(backend: str) -> Callable[..., Tensor]:
    def attend(given: _Given, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return ragged_cross_attention(q, k, v, *given, backend=backend)

    return attend


def _gathered(given: _Given, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    rows = torch.repeat_interleave(
        torch.arange(len(q), device=q.device),
        given.offsets.diff(),
        output_size=len(given.indices),
    )
    scores = (q[rows] * k[given.indices]).sum(-1).float() * q.shape[-1] ** -0.5
    scores = scores + given.bias[:, None]
    peak = scores.new_full((len(q), q.shape[1]), -torch.inf)
    peak = peak.scatter_reduce(0, rows[:, None].expand_as(scores), scores.detach(), "amax")
    weights = (scores - peak[rows]).exp()
    total = weights.new_zeros(len(q), q.shape[1]).index_add(0, rows, weights)
    values = (weights / total[rows]).unsqueeze(-1) * v[given.indices]
    return values.new_zeros(q.shape).index_add(0, rows, values).to(q.dtype)


def _padded(given: _Given, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    lengths = given.offsets.diff()
    slots = torch.arange(int(lengths.max()), device=q.device)
    real = slots < lengths[:, None]
    place = torch.where(real, given.offsets[:-1, None] + slots, 0)
    bias = given.bias[place].masked_fill(~real, -torch.inf)[:, None, None].to(q.dtype)
    keys, values = (x[given.indices[place]].transpose(1, 2) for x in (k, v))
    return F.scaled_dot_product_attention(q.unsqueeze(2), keys, values, attn_mask=bias).squeeze(2)


def _looped(given: _Given, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    lengths = given.offsets.diff().tolist()
    lists = given.indices.split(lengths), given.bias.to(q.dtype).split(lengths)
    rows = []
    for query, indices, bias in zip(q, *lists, strict=True):
        keys, values = (x[indices].transpose(0, 1) for x in (k, v))
        rows.append(F.scaled_dot_product_attention(query[:, None], keys, values, bias[None, None]))
    return torch.stack(rows).squeeze(2)


SUITE = Suite(
    "ragged_cross_attention",
    RAGGED,
    small=("1000_and_150_points",),
    make=_make,
    oracle=_with_backend("reference"),
    contenders=(
        Contender(OURS, "what a call that names no backend runs", _with_backend("auto")),
        Contender(
            "reference", "our specification: edges, some at a time", _with_backend("reference")
        ),
        Contender("gather", "gather every edge, under autograd", _gathered),
        Contender("padded_sdpa", "gather into padded lists, SDPA with a bias", _padded),
        Contender("loop", "a loop over the rows: gather, SDPA with a bias", _looped),
        Contender(
            "xformers",
            "gather, xformers' block-diagonal attention: our backend of that name",
            _with_backend("xformers"),
            xformers_unavailable,
        ),
    ),
    tolerance=TOLERANCE,
)
