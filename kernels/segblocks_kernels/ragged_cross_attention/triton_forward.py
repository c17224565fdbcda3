"""Forward of ragged attention: online softmax over spans of edges, then a merge of their pieces."""

# pyright: reportCallIssue=false, reportGeneralTypeIssues=false

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from .._tuning import Config
from .triton_common import (
    LN_2,
    edge_scores,
    head_range,
    launch,
    load_row,
    load_rows,
    program_place,
    row_of,
    slot_count,
    slots_of,
    store_row,
)
from .triton_tiles import blocks, launch_key, merge_config, run_tuned, span_candidates


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
    BLOCK_E: tl.constexpr,
):
    row, group = program_place(groups)
    heads, m_heads = head_range(group, HEADS, BLOCK_M)
    first, last = slots_of(row, offsets, span_size)
    peak, total, b_sum = empty_softmax(BLOCK_M, BLOCK_D)
    for start in range(first, last, BLOCK_E):
        slots = start + tl.arange(0, BLOCK_E)
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
    rows, heads, dim = q.shape
    edges = indices.shape[0]
    indices, offsets = indices.contiguous(), offsets.contiguous()
    bias = None if bias is None else bias.contiguous()
    key = launch_key(q, indices)

    def run(config: Config) -> None:
        span = config["SPAN"]
        slots = slot_count(edges, rows, span)
        peaks, totals = lse.new_empty((2, slots, heads))
        sums = lse.new_empty((slots, heads, dim))
        launch(
            span_kernel,
            q,
            triton.cdiv(edges, span),
            *(q, k, v, indices, offsets, bias, peaks, totals, sums),
            *(q.stride(), k.stride(), v.stride(), scale, rows, edges, span),
            BIASED=bias is not None,
            **blocks(config, q),
        )
        pieces = (peaks, totals, sums, offsets, out, lse, span)
        launch(merge_kernel, q, rows, *pieces, **blocks(merge_config("merge", key), q))

    run_tuned("forward", key, span_candidates(), run)
    return out, lse
