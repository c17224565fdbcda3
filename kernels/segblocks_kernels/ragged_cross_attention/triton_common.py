"""What the Triton kernels of ragged attention share: tiles over heads, and spans of edges.

The edges of all rows, one after the other, are cut into spans of equal size, so that programs have
equal work however long the lists are. Where a span meets a row there is a piece. Piece (span, row)
has the slot span + row: along the edges either the one or the other grows, so no two pieces share
a slot, the pieces of a row are neighbours, and nobody has to count them.
"""

# Triton's launch syntax is beyond the type checker.
# pyright: reportCallIssue=false, reportGeneralTypeIssues=false

from __future__ import annotations

import math
from typing import Any

import triton
import triton.language as tl
from torch import Tensor

from .._device import on_device

LOG2_E = tl.constexpr(math.log2(math.e))
LN_2 = tl.constexpr(math.log(2.0))


@triton.jit
def row_of(edge, offsets, num_rows):
    """The row that owns an edge: the last that begins at or before it."""
    low = tl.full([], 0, tl.int64)
    high = low + num_rows - 1
    while low < high:
        middle = (low + high + 1) // 2
        before = tl.load(offsets + middle) <= edge
        low = tl.where(before, middle, low)
        high = tl.where(before, high, middle - 1)
    return low


@triton.jit
def program_place(groups):
    """What this program owns (int64), and the group of heads; groups share cache lines."""
    program = tl.program_id(0)
    return (program // groups).to(tl.int64), program % groups


@triton.jit
def head_range(group, HEADS: tl.constexpr, BLOCK_M: tl.constexpr):
    """The heads of a group (int64), and which of them there are."""
    heads = group * BLOCK_M + tl.arange(0, BLOCK_M)
    return heads.to(tl.int64), heads < HEADS


@triton.jit
def load_rows(base, rows, inside, strides, heads, m_heads, D: tl.constexpr, BLOCK_D: tl.constexpr):
    """Rows of a tensor (rows, M, D) in float32, [len(rows), BLOCK_M, BLOCK_D]; else zeros."""
    d = tl.arange(0, BLOCK_D)
    offsets = heads[:, None] * strides[1] + d[None, :].to(tl.int64) * strides[2]
    mask = m_heads[:, None] & (d < D)[None, :]
    pointers = base + rows[:, None, None] * strides[0] + offsets[None, :, :]
    mask = inside[:, None, None] & mask[None, :, :]
    return tl.load(pointers, mask=mask, other=0.0).to(tl.float32)


@triton.jit
def load_row(base, row, strides, heads, m_heads, D: tl.constexpr, BLOCK_D: tl.constexpr):
    """One row of a tensor (rows, M, D) in float32, [BLOCK_M, BLOCK_D]."""
    d = tl.arange(0, BLOCK_D)
    offsets = heads[:, None] * strides[1] + d[None, :].to(tl.int64) * strides[2]
    mask = m_heads[:, None] & (d < D)[None, :]
    return tl.load(base + row * strides[0] + offsets, mask=mask, other=0.0).to(tl.float32)


@triton.jit
def store_row(
    base, values, row, heads, m_heads, HEADS: tl.constexpr, D: tl.constexpr, BLOCK_D: tl.constexpr
):
    """Write one row of a contiguous tensor (rows, M, D)."""
    d = tl.arange(0, BLOCK_D)
    pointers = base + (row * HEADS + heads[:, None]) * D + d[None, :]
    values = values.to(base.dtype.element_ty)
    tl.store(pointers, values, mask=m_heads[:, None] & (d < D)[None, :])


@triton.jit
def edge_scores(b_q, b_k, bias, edges, inside, scale, BIASED: tl.constexpr):
    """Scores [BLOCK_E, BLOCK_M] in base 2; -inf where there is no edge."""
    scores = tl.sum(b_q * b_k, 2) * scale
    if BIASED:
        scores += tl.load(bias + edges, mask=inside, other=0.0).to(tl.float32)[:, None]
    return tl.where(inside[:, None], scores * LOG2_E, float("-inf"))


@triton.jit
def slots_of(row, offsets, span_size):
    """First and last (exclusive) slot of a row's pieces."""
    begin = tl.load(offsets + row)
    end = tl.load(offsets + row + 1)
    first = begin // span_size
    last = tl.where(begin < end, (end + span_size - 1) // span_size, first)
    return row + first, row + last


def launch(
    kernel: Any, like: Tensor, owners: int, *arguments: Any, HEADS: int, BLOCK_M: int, **extra: Any
) -> None:
    """Run one program for each owner and group of heads, on the device of ``like``."""
    groups = triton.cdiv(HEADS, BLOCK_M)
    with on_device(like.device):
        kernel[(owners * groups,)](*arguments, groups, HEADS=HEADS, BLOCK_M=BLOCK_M, **extra)


def slot_count(edges: int, rows: int, span_size: int) -> int:
    """Room for all pieces."""
    return triton.cdiv(edges, span_size) + rows
