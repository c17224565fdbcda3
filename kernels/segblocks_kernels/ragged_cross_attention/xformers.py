"""The xformers backend: the lists packed one after the other, under a block-diagonal bias."""

from __future__ import annotations

import importlib.util

import torch
import torch.nn.functional as F
from torch import Tensor

# The operators want rows of whole 16 bytes; two more channels carry the bias.
_CHANNELS = 8
_BIAS_CHANNELS = 2


def xformers_unavailable(device: torch.device) -> str | None:
    """Why xformers cannot run on ``device``, or None when it can."""
    if device.type != "cuda":
        return f"the operators of xformers run on CUDA only, not on device {device.type!r}"
    if importlib.util.find_spec("xformers") is None:
        return "xformers is not installed; `pip install 'segblocks[xformers]'`"
    return None


def _present(offsets: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """The edges that exist, that is whose bias is not -inf, and the offsets of what is left."""
    exists = bias > -torch.inf
    before = F.pad(exists.cumsum(0), (1, 0))
    return exists.nonzero().squeeze(1), before[offsets]


def _with_bias(q: Tensor, k: Tensor, bias: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """Append the bias to the keys and ones to the queries, in channels of their own.

    A block-diagonal bias of xformers has no place for numbers. Two channels hold a number of half
    precision and what its rounding left over.
    """
    exact = bias.to(torch.promote_types(bias.dtype, torch.float32)) / scale
    rounded = exact.to(k.dtype)
    rest = (exact.detach() - rounded.detach()).to(k.dtype)
    columns = torch.stack((rounded, rest), dim=-1)[:, None].expand(-1, k.shape[1], -1)
    ones = q.new_ones((*q.shape[:2], _BIAS_CHANNELS))
    return torch.cat((q, ones), dim=-1), torch.cat((k, columns), dim=-1)


def ragged_cross_attention_xformers(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    indices: Tensor,
    offsets: Tensor,
    bias: Tensor | None,
    scale: float,
) -> Tensor:
    """Attend with ``xformers.ops.memory_efficient_attention``.

    Gathers k and v of every edge, and reads the lengths of the lists on the host: xformers takes
    them as Python ints. Differentiable as xformers is.
    """
    from xformers.ops import memory_efficient_attention  # pyright: ignore[reportMissingImports]
    from xformers.ops.fmha.attn_bias import (  # pyright: ignore[reportMissingImports]
        BlockDiagonalMask,
    )

    dim = q.shape[-1]
    if bias is not None:
        edges, offsets = _present(offsets, bias)
        indices, bias = indices[edges], bias[edges]
    lengths = offsets.diff().tolist()
    rows = [row for row, length in enumerate(lengths) if length]
    if not rows or not q.numel():
        # Zeros that still depend on the inputs, for whoever differentiates them.
        return torch.zeros_like(q) + sum(x[:0].sum() for x in (q, k, v))
    place = torch.tensor(rows, device=q.device)
    picked, keys, values = q[place], k[indices], v[indices]
    if bias is not None:
        picked, keys = _with_bias(picked, keys, bias, scale)
    # One width for all three: some of the operators take no other.
    width = -(-picked.shape[-1] // _CHANNELS) * _CHANNELS
    packed = [F.pad(x, (0, width - x.shape[-1]))[None] for x in (picked, keys, values)]
    mask = BlockDiagonalMask.from_seqlens(
        [1] * len(rows), [lengths[row] for row in rows], device=q.device
    )
    out = memory_efficient_attention(*packed, attn_bias=mask, scale=scale)[0, ..., :dim]
    return torch.zeros_like(q).index_copy(0, place, out)
