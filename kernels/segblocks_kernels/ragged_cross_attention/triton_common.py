"""What the Triton kernels of ragged attention share: tiles over heads, and spans of edges.

The edges of all rows, one after the other, are cut into spans of equal size, so that programs have
equal work however long the lists are. Where a span meets a row there is a piece. Piece (span, row)
has the slot span + row: along the edges either the one or the other grows, so no two pieces share
a slot, the pieces of a row are neighbours, and nobody has to count them.
"""

# Triton's launch syntax is beyond the type checker.
# pyright: reportCallIssue=false, reportGeneralTypeIssues=false

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

LOG2_E = tl.constexpr(math.log2(math.e))
LN_2 = tl.constexpr(math.log(2.0))
# Numbers of a tile: 64 a lane of one warp, which with as many products stays below 255 registers.
# A warp then has 16 rows of k and v under way at M=8 and D=32: latency is hidden without more.
_TILE = 2048
# Of a row, what one program takes: 16 bytes a lane of one warp, at four bytes a number or two.
_ROW = 256
# About this many spans, several for each scheduler of a large GPU ...
_SPANS = 4096
# ... but long enough for a piece, which goes through memory in float32, to be a small part of it.
_SHORTEST_SPAN = 32
_LONGEST_SPAN = 256


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


@dataclass(frozen=True)
class Plan:
    """Sizes and compile-time choices of the launches over one set of lists.

    Args:
        rows, edges, heads, dim: R, E, M and D.
        block_m, block_d: heads and channels of a program, powers of two.
        block_e: edges that it looks at together.
        span_size: edges of a span.
    """

    rows: int
    edges: int
    heads: int
    dim: int
    block_m: int
    block_d: int
    block_e: int
    span_size: int

    @property
    def groups(self) -> int:
        """Groups of heads."""
        return triton.cdiv(self.heads, self.block_m)

    @property
    def spans(self) -> int:
        """Spans of edges."""
        return triton.cdiv(self.edges, self.span_size)

    @property
    def slots(self) -> int:
        """Room for all pieces."""
        return self.spans + self.rows

    @property
    def blocks(self) -> dict[str, int]:
        """The compile-time arguments that all kernels have."""
        return {
            "HEADS": self.heads,
            "D": self.dim,
            "BLOCK_M": self.block_m,
            "BLOCK_D": self.block_d,
        }

    def launch(self, kernel: Any, like: Tensor, owners: int, *arguments: Any, **extra: Any) -> None:
        """Run one program an owner and group of heads, on the device of ``like``.

        Triton launches on the current device, which need not be that of the tensors.
        """
        with torch.cuda.device_of(like) if like.is_cuda else contextlib.nullcontext():
            kernel[(owners * self.groups,)](*arguments, self.groups, **self.blocks, **extra)


def plan(q: Tensor, indices: Tensor) -> Plan:
    """Choose the tiles from shapes alone: lists stay where they are."""
    rows, heads, dim = q.shape
    edges = indices.shape[0]
    block_d = triton.next_power_of_2(dim)
    block_m = min(triton.next_power_of_2(heads), max(1, _ROW // block_d))
    wanted = triton.next_power_of_2(triton.cdiv(edges, _SPANS))
    return Plan(
        rows=rows,
        edges=edges,
        heads=heads,
        dim=dim,
        block_m=block_m,
        block_d=block_d,
        block_e=min(_SHORTEST_SPAN, max(1, _TILE // (block_m * block_d))),
        span_size=min(max(wanted, _SHORTEST_SPAN), _LONGEST_SPAN),
    )
