"""Forward of ragged attention: online softmax over spans of edges, then a merge of their pieces."""

# pyright: reportCallIssue=false, reportGeneralTypeIssues=false

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from .triton_common import (
    LN_2,
    edge_scores,
    head_range,
    load_row,
    load_rows,
    plan,
    program_place,
    row_of,
    slots_of,
    store_row,
)

# Merging runs over contiguous memory: a whole row of 16384 edges has 128 pieces, and four warps
# take them in 4 steps.
_MERGE_WARPS = 4


@triton.jit
def fold(peak, total, b_sum, scores, masses, values):
    """Add entries [n, BLOCK_M] with masses and values [n, BLOCK_M, BLOCK_D] to a softmax."""
    new_peak = tl.maximum(peak, tl.max(scores, 0))
    # As long as all entries are at -inf, any finite anchor makes their weights zero.
    anchor = tl.where(new_peak == float("-inf"), 0.0, new_peak)
    weights = tl.exp2(scores - anchor[None, :])
    shrink = tl.exp2(peak - anchor)
    total = total * shrink + tl.sum(weights * masses, 0)
    b_sum = b_sum * shrink[:, None] + tl.sum(weights[:, :, None] * values, 0)
    return new_peak, total, b_sum


@triton.jit
def empty_softmax(BLOCK_M: tl.constexpr, BLOCK_D: tl.constexpr):
    """Peak, total and sum before the first entry."""
    peak = tl.full([BLOCK_M], float("-inf"), tl.float32)
    return peak, tl.zeros([BLOCK_M], tl.float32), tl.zeros([BLOCK_M, BLOCK_D], tl.float32)


@triton.jit(do_not_specialize=["num_rows", "num_edges", "span_size"])
def span_kernel(
    q,
    k,
    v,
    indices,
    offsets,
    bias,
    peaks,
    totals,
    sums,
    q_strides,
    k_strides,
    v_strides,
    scale,
    num_rows,
    num_edges,
    span_size,
    groups,
    HEADS: tl.constexpr,
    D: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK_E: tl.constexpr,
    BIASED: tl.constexpr,
):
    span, group = program_place(groups)
    heads, m_heads = head_range(group, HEADS, BLOCK_M)
    begin = span * span_size
    stop = tl.minimum(begin + span_size, num_edges)
    row = row_of(begin, offsets, num_rows)
    while (begin < stop) & (row < num_rows):
        end = tl.minimum(tl.load(offsets + row + 1), stop)
        b_q = load_row(q, row, q_strides, heads, m_heads, D, BLOCK_D)[None, :, :]
        peak, total, b_sum = empty_softmax(BLOCK_M, BLOCK_D)
        for start in range(begin, end, BLOCK_E):
            edges = start + tl.arange(0, BLOCK_E)
            inside = edges < end
            keys = tl.load(indices + edges, mask=inside, other=0)
            b_k = load_rows(k, keys, inside, k_strides, heads, m_heads, D, BLOCK_D)
            b_v = load_rows(v, keys, inside, v_strides, heads, m_heads, D, BLOCK_D)
            scores = edge_scores(b_q, b_k, bias, edges, inside, scale, BIASED)
            peak, total, b_sum = fold(peak, total, b_sum, scores, 1.0, b_v)
        slot = span + row
        tl.store(peaks + slot * HEADS + heads, peak, mask=m_heads)
        tl.store(totals + slot * HEADS + heads, total, mask=m_heads)
        store_row(sums, b_sum, slot, heads, m_heads, HEADS, D, BLOCK_D)
        begin = end
        row += 1


@triton.jit(do_not_specialize=["span_size"])
def merge_kernel(
    peaks,
    totals,
    sums,
    offsets,
    out,
    lse,
    span_size,
    groups,
    HEADS: tl.constexpr,
    D: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK_P: tl.constexpr,
):
    row, group = program_place(groups)
    heads, m_heads = head_range(group, HEADS, BLOCK_M)
    first, last = slots_of(row, offsets, span_size)
    peak, total, b_sum = empty_softmax(BLOCK_M, BLOCK_D)
    for start in range(first, last, BLOCK_P):
        slots = start + tl.arange(0, BLOCK_P)
        inside = slots < last
        places = slots[:, None] * HEADS + heads[None, :]
        mask = inside[:, None] & m_heads[None, :]
        b_peaks = tl.load(peaks + places, mask=mask, other=float("-inf"))
        b_totals = tl.load(totals + places, mask=mask, other=0.0)
        b_sums = load_rows(sums, slots, inside, (HEADS * D, D, 1), heads, m_heads, D, BLOCK_D)
        peak, total, b_sum = fold(peak, total, b_sum, b_peaks, b_totals, b_sums)
    nothing = total == 0.0
    total = tl.where(nothing, 1.0, total)
    store_row(out, b_sum / total[:, None], row, heads, m_heads, HEADS, D, BLOCK_D)
    # Finite for a row without edges, too: the backward subtracts it from -inf.
    b_lse = tl.where(nothing, 0.0, (peak + tl.log2(total)) * LN_2)
    tl.store(lse + row * HEADS + heads, b_lse, mask=m_heads)


def forward(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    indices: Tensor,
    offsets: Tensor,
    bias: Tensor | None,
    scale: float,
) -> tuple[Tensor, Tensor]:
    """Launch both kernels.

    Returns:
        The output (R, M, D), and the log-sum-exp (R, M) in float32, zero for a row without edges.
    """
    lse = q.new_empty(q.shape[:2], dtype=torch.float32)
    if q.numel() == 0 or indices.numel() == 0:
        return q.new_zeros(q.shape), lse.zero_()
    out = q.new_empty(q.shape)
    chosen = plan(q, indices)
    peaks, totals = lse.new_empty((2, chosen.slots, chosen.heads))
    sums = lse.new_empty((chosen.slots, chosen.heads, chosen.dim))
    indices, offsets = indices.contiguous(), offsets.contiguous()
    chosen.launch(
        span_kernel,
        q,
        chosen.spans,
        *(q, k, v, indices, offsets, None if bias is None else bias.contiguous()),
        *(peaks, totals, sums),
        *(q.stride(), k.stride(), v.stride()),
        *(scale, chosen.rows, chosen.edges, chosen.span_size),
        BLOCK_E=chosen.block_e,
        BIASED=bias is not None,
        num_warps=1,
    )
    chosen.launch(
        merge_kernel,
        q,
        chosen.rows,
        *(peaks, totals, sums, offsets, out, lse, chosen.span_size),
        BLOCK_P=chosen.block_e * _MERGE_WARPS,
        num_warps=_MERGE_WARPS,
    )
    return out, lse
