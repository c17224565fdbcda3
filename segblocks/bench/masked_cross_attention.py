"""Masked cross-attention against what Mask2Former-style decoders run."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segblocks.bench.flex import flex_attention, flex_unavailable
from segblocks.bench.shapes import MASKED, Masked
from segblocks.bench.suite import (
    OURS,
    TOLERANCE,
    Contender,
    Problem,
    Setting,
    Suite,
    xformers_unavailable,
)
from segblocks.ops import MaskFromFeatures, masked_cross_attention

# Of mask embeddings and mask features.
_CHANNELS = 256


class _Given(NamedTuple):
    """The factors of the mask logits; making a mask of them is a part of every contender."""

    embeddings: Tensor
    features: Tensor

    @property
    def logits(self) -> Tensor:
        return self.embeddings @ self.features.mT


def _make(shape: Masked, setting: Setting) -> Problem:
    generator = torch.Generator().manual_seed(0)

    def draw(length: int) -> Tensor:
        x = torch.randn(shape.batch, length, shape.heads, shape.dim, generator=generator)
        return x.to(setting.device, setting.torch_dtype)

    def draw_whole(length: int) -> Tensor:
        return torch.randint(-2, 3, (shape.batch, length, _CHANNELS), generator=generator).float()

    tensors = draw(shape.queries), draw(shape.keys), draw(shape.keys)
    # Whole numbers: the sign of a logit does not depend on who rounds. About a sixth of the keys
    # are inside, and one query has an empty mask.
    embeddings, features = draw_whole(shape.queries), draw_whole(shape.keys)
    embeddings[..., 0], features[..., 0] = 1.0, -32.0
    embeddings[:, 0, 1:] = 0.0
    factors = (x.to(setting.device, setting.torch_dtype) for x in (embeddings, features))
    return Problem(tensors, _Given(*factors))


def _with_backend(backend: str) -> Callable[..., Tensor]:
    def attend(given: _Given, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return masked_cross_attention(q, k, v, MaskFromFeatures(*given), backend=backend)

    return attend


def _from_logits(given: _Given, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return masked_cross_attention(q, k, v, given.logits)


def _keep_per_head(logits: Tensor, heads: int) -> Tensor:
    """The mask as the published decoders make it (B, M, Q, N): a copy a head, empty rows opened."""
    blocked = (logits.sigmoid() < 0.5).unsqueeze(1).repeat(1, heads, 1, 1)
    blocked[torch.where(blocked.sum(-1) == blocked.shape[-1])] = False
    return ~blocked


def _sdpa(given: _Given, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    keep = _keep_per_head(given.logits, q.shape[2])
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v, attn_mask=keep).transpose(1, 2)


def _with_weights(given: _Given, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    keep = _keep_per_head(given.logits, q.shape[2])
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    scores = (q * q.shape[-1] ** -0.5 @ k.mT).masked_fill(~keep, -torch.inf)
    return (scores.softmax(-1) @ v).transpose(1, 2)


@cache
def _module(heads: int, dim: int, device: torch.device, dtype: torch.dtype) -> nn.Module:
    """Attention whose four projections leave everything as it is."""
    width = heads * dim
    module = nn.MultiheadAttention(width, heads, batch_first=True, device=device, dtype=dtype)
    identity = torch.eye(width, device=device, dtype=dtype)
    module.in_proj_weight.data.copy_(identity.repeat(3, 1))
    module.out_proj.weight.data.copy_(identity)
    return module.requires_grad_(False)


def _multihead(given: _Given, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    blocked = ~_keep_per_head(given.logits, q.shape[2]).flatten(0, 1)
    module = _module(q.shape[2], q.shape[3], q.device, q.dtype)
    out = module(*(x.flatten(2) for x in (q, k, v)), attn_mask=blocked)[0]
    return out.unflatten(2, q.shape[2:])


def _keep(logits: Tensor) -> Tensor:
    keep = logits >= 0
    return keep | ~keep.any(-1, keepdim=True)


def _flex(given: _Given, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    from torch.nn.attention.flex_attention import create_block_mask

    keep = _keep(given.logits)

    def inside(b: Tensor, h: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return keep[b, query, key]

    batch, queries, keys = keep.shape
    blocks = create_block_mask(inside, batch, None, queries, keys, device=q.device.type)
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    return flex_attention()(q, k, v, block_mask=blocks).transpose(1, 2)


def _xformers(given: _Given, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    from xformers.ops import memory_efficient_attention  # type: ignore[import-not-found]

    keep = _keep(given.logits)
    batch, queries, keys = keep.shape
    # Rows of a bias begin at multiples of 16 bytes there.
    bias = q.new_full((batch, 1, queries, -(-keys // 8) * 8), -torch.inf)
    bias[..., :keys].masked_fill_(keep[:, None], 0.0)
    bias = bias[..., :keys].expand(batch, q.shape[2], queries, keys)
    return memory_efficient_attention(q, k, v, attn_bias=bias)


SUITE = Suite(
    "masked_cross_attention",
    MASKED,
    small=("480p_T3_stride32", "480p_T3_stride16", "480p_T3_stride8"),
    make=_make,
    oracle=_with_backend("reference"),
    contenders=(
        Contender(
            OURS, "what a call that names no backend runs, from features", _with_backend("auto")
        ),
        Contender("segblocks_logits", "the same from logits, made by a product", _from_logits),
        Contender(
            "reference", "our specification: SDPA, a mask for all heads", _with_backend("reference")
        ),
        Contender("sdpa", "SDPA, a copy of the mask a head", _sdpa),
        Contender("weights", "attention with its matrix, a copy of the mask a head", _with_weights),
        Contender(
            "multihead_attention",
            "nn.MultiheadAttention, projections included: Mask2Former as published",
            _multihead,
        ),
        Contender(
            "flex", "FlexAttention with a block mask, which is made anew", _flex, flex_unavailable
        ),
        Contender("xformers", "xformers with a dense bias", _xformers, xformers_unavailable),
    ),
    tolerance=TOLERANCE,
)
