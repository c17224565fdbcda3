"""What the Triton kernels of masked cross-attention share: rows, the packed mask, scores, tiles."""

from __future__ import annotations

import contextlib
from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

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
    d = tl.arange(0, BLOCK_D)
    base += clip * strides[0] + head * strides[2]
    pointers = base + row.to(tl.int64)[:, None] * strides[1] + d[None, :] * strides[3]
    if HEAD_DIM == BLOCK_D:
        return tl.load(pointers, mask=inside[:, None], other=0.0)
    return tl.load(pointers, mask=inside[:, None] & (d < HEAD_DIM)[None, :], other=0.0)


@triton.jit
def store_rows(
    base, values, clip, head, row, inside, strides, HEAD_DIM: tl.constexpr, BLOCK_D: tl.constexpr
):
    """Write what ``load_rows`` would read."""
    d = tl.arange(0, BLOCK_D)
    base += clip * strides[0] + head * strides[2]
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


class Tile(NamedTuple):
    """Queries and keys of a tile, and the warps of its program."""

    queries: int
    keys: int
    num_warps: int = 4


# Tensor cores want at least 16 rows, and so does tl.dot.
MIN_BLOCK = 16
NUM_STAGES = 2
# By element size and padded head size. 128 queries are all of a decoder's 100, so that keys and
# values are read once; wider heads and float32 products, which run on the scalar units and keep
# whole tiles in registers, leave room for fewer.
_HALF_FORWARD = {32: Tile(128, 64, 8), 64: Tile(128, 64, 8), 128: Tile(64, 32), 256: Tile(64, 32)}
_HALF_BACKWARD = {32: Tile(64, 64), 64: Tile(64, 64), 128: Tile(64, 32), 256: Tile(32, 32)}
_FLOAT_FORWARD = {32: Tile(64, 32, 8), 64: Tile(32, 32), 128: Tile(16, 32, 8), 256: Tile(16, 32, 8)}
_FLOAT_BACKWARD = {
    32: Tile(32, 32, 8),
    64: Tile(16, 32),
    128: Tile(16, 32, 8),
    256: Tile(16, 32, 8),
}


def padded_head(dim: int) -> int:
    """The head size that tiles have."""
    return max(MIN_BLOCK, triton.next_power_of_2(dim))


def choose_tile(q: Tensor, *, backward: bool) -> Tile:
    """A tile that fits the registers and the shared memory of sm_80 and newer."""
    if q.dtype == torch.float32:
        tiles = _FLOAT_BACKWARD if backward else _FLOAT_FORWARD
    else:
        tiles = _HALF_BACKWARD if backward else _HALF_FORWARD
    tile = tiles[max(padded_head(q.shape[-1]), 32)]
    fitting = max(MIN_BLOCK, triton.next_power_of_2(q.shape[1]))
    return tile if fitting >= tile.queries else tile._replace(queries=fitting, num_warps=4)


# A program of fewer keys would write more of partial sums than it reads of keys and values.
MIN_KEYS_PER_SPLIT = 256
# Two programs of 256 threads fit a multiprocessor; two waves even out what empty tiles save.
_PROGRAMS_PER_PROCESSOR = 4
_PROCESSORS_WITHOUT_GPU = 2


class Split(NamedTuple):
    """How many programs share the keys, and how many keys each takes."""

    shares: int
    keys: int


def split_keys(q: Tensor, num_keys: int, tile: Tile) -> Split:
    """Split the keys, which are many, where clips, heads and queries are few programs."""
    processors = _PROCESSORS_WITHOUT_GPU
    if q.is_cuda:
        processors = torch.cuda.get_device_properties(q.device).multi_processor_count
    programs = q.shape[0] * q.shape[2] * triton.cdiv(q.shape[1], tile.queries)
    count = triton.cdiv(_PROGRAMS_PER_PROCESSOR * processors, programs)
    count = min(count, triton.cdiv(num_keys, MIN_KEYS_PER_SPLIT))
    keys = triton.cdiv(triton.cdiv(num_keys, count), tile.keys) * tile.keys
    return Split(triton.cdiv(num_keys, keys), keys)


def launch(
    kernel: Any, like: Tensor, grid: tuple[int, ...], *arguments: Any, **settings: Any
) -> None:
    """Run a grid of programs on the device of ``like``.

    Triton launches on the current device, which need not be that of the tensors.
    """
    with torch.cuda.device_of(like) if like.is_cuda else contextlib.nullcontext():
        kernel[grid](*arguments, num_stages=NUM_STAGES, **settings)


def strides(*tensors: Tensor | None) -> tuple[tuple[int, ...] | None, ...]:
    """The strides of each tensor, as the kernels take them."""
    return tuple(None if x is None else x.stride() for x in tensors)
