"""What the Triton kernels of masked cross-attention share: rows, the packed mask, scores."""

from __future__ import annotations

from typing import Any

import triton
import triton.language as tl
from torch import Tensor

from .._device import on_device
from .._triton_product import product
from .op import WORD

LOG2_E = 1.4426950408889634
# Sizes that change from clip to clip: no compilation of their own for a 1 or a multiple of 16.
OPEN_SIZES = [
    "num_queries",
    "num_keys",
    "num_blocks",
    "num_splits",
    "keys_per_split",
    "num_strips",
    "words_per_strip",
]
_WORD = tl.constexpr(WORD)
# The axis of a tile along which queries run; keys run along the other.
DOWN = tl.constexpr(0)
ACROSS = tl.constexpr(1)


@triton.jit
def load_rows(
    base, clip, head, row, inside, strides, HEAD_DIM: tl.constexpr, BLOCK_D: tl.constexpr
):
    """Rows (block, BLOCK_D) of a head of a tensor (B, rows, M, D); zeros where not inside."""
    d = tl.arange(0, BLOCK_D).to(tl.int64)
    base += clip * strides[0] + tl.full([], head, tl.int64) * strides[2]
    pointers = base + row.to(tl.int64)[:, None] * strides[1] + d[None, :] * strides[3]
    if HEAD_DIM == BLOCK_D:
        return tl.load(pointers, mask=inside[:, None], other=0.0)
    return tl.load(pointers, mask=inside[:, None] & (d < HEAD_DIM)[None, :], other=0.0)


@triton.jit
def store_rows(
    base, values, clip, head, row, inside, strides, HEAD_DIM: tl.constexpr, BLOCK_D: tl.constexpr
):
    """Write what ``load_rows`` would read."""
    d = tl.arange(0, BLOCK_D).to(tl.int64)
    base += clip * strides[0] + tl.full([], head, tl.int64) * strides[2]
    pointers = base + row.to(tl.int64)[:, None] * strides[1] + d[None, :] * strides[3]
    mask = inside[:, None]
    if HEAD_DIM != BLOCK_D:
        mask = mask & (d < HEAD_DIM)[None, :]
    tl.store(pointers, values.to(base.dtype.element_ty), mask=mask)


@triton.jit
def is_open(strips, clip, query, inside, num_queries, num_strips):
    """Whether a row of the mask has no key at all, so that it attends everywhere."""
    if strips is None:
        return inside
    row = clip * num_queries + query
    some = tl.zeros_like(query)
    # A few at a time: all of them would be more registers than anything else takes.
    for first in range(0, num_strips, 16):
        strip = first + tl.arange(0, 16)
        pointers = strips + row[:, None] * num_strips + strip[None, :]
        present = inside[:, None] & (strip < num_strips)[None, :]
        flags = tl.load(pointers, mask=present, other=0)
        some = tl.maximum(some, tl.max(flags.to(tl.int32), 1))
    return inside & (some == 0)


@triton.jit
def load_word(words, clip, query, inside, opened, index, num_queries, num_keys):
    """Word ``index`` of each row of the packed mask, of ones where the row is open."""
    if words is None:
        return tl.where(inside, -1, 0)
    num_words = (num_keys + _WORD - 1) // _WORD
    first = (clip * num_queries + query) * num_words
    present = inside & (first + index < first + num_words)
    word = tl.load(words + first + index, mask=present, other=0)
    return tl.where(opened, -1, word)


@triton.jit
def load_keep(
    words,
    clip,
    query,
    inside,
    opened,
    start,
    num_queries,
    num_keys,
    BLOCK_N: tl.constexpr,
    QUERY_AXIS: tl.constexpr,
):
    """Which keys of the tile at ``start`` each row attends to, and whether any row does any.

    Keys beyond the last are attended to by nobody.
    """
    n = tl.expand_dims(tl.arange(0, BLOCK_N), QUERY_AXIS)
    first = load_word(
        words, clip, query, inside, opened, start // _WORD, num_queries, num_keys
    )  # [BLOCK_Q]
    seen = first
    tile = tl.expand_dims(first, 1 - QUERY_AXIS)
    for i in tl.static_range(1, BLOCK_N // _WORD):  # pyright: ignore
        word = load_word(
            words, clip, query, inside, opened, start // _WORD + i, num_queries, num_keys
        )
        seen = seen | word
        tile = tl.where(n // _WORD == i, tl.expand_dims(word, 1 - QUERY_AXIS), tile)
    keep = (((tile >> (n % _WORD)) & 1) != 0) & (start + n < num_keys)
    if words is None:
        return keep, True
    return keep, tl.max((seen != 0).to(tl.int32), 0) > 0  # pyright: ignore


@triton.jit
def bias_pointers(bias, clip, query, key, strides, QUERY_AXIS: tl.constexpr):
    """Where a tile of a tensor (B, Q, N) lies; queries run along ``QUERY_AXIS``."""
    rows = tl.expand_dims(query.to(tl.int64) * strides[1], 1 - QUERY_AXIS)
    columns = tl.expand_dims(key.to(tl.int64) * strides[2], QUERY_AXIS)
    return bias + clip * strides[0] + rows + columns


@triton.jit
def load_bias(bias, clip, query, key, keep, strides, QUERY_AXIS: tl.constexpr):
    """A tile of the bias in float32; zeros where no attention is paid."""
    pointers = bias_pointers(bias, clip, query, key, strides, QUERY_AXIS)
    return tl.load(pointers, mask=keep, other=0.0).to(tl.float32)


@triton.jit
def masked_scores(
    b_q,
    b_k,
    keep,
    scale_log2,
    bias,
    bias_scale,
    bias_strides,
    clip,
    head,
    query,
    key,
    log2_e,
    QUERY_AXIS: tl.constexpr,
):
    """Scores of a tile in base 2, minus infinity where no attention is paid."""
    if QUERY_AXIS == DOWN:
        scores = product(b_q, tl.trans(b_k)) * scale_log2
    else:
        scores = product(b_k, tl.trans(b_q)) * scale_log2
    if bias is not None:
        factor = tl.load(bias_scale + head).to(tl.float32) * log2_e
        b_bias = load_bias(bias, clip, query, key, keep, bias_strides, QUERY_AXIS)
        scores += b_bias * factor
    return tl.where(keep, scores, float("-inf"))


def launch(
    kernel: Any, like: Tensor, grid: tuple[int, ...], *arguments: Any, **settings: Any
) -> None:
    """Run a grid of programs on the device of ``like``."""
    with on_device(like.device):
        kernel[grid](*arguments, **settings)


def strides(*tensors: Tensor | None) -> tuple[tuple[int, ...] | None, ...]:
    """The strides of each tensor, as the kernels take them."""
    return tuple(None if x is None else x.stride() for x in tensors)
