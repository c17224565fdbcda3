"""Backward of ragged attention: the same spans for queries and bias, lists by key for k and v.

Each program owns what it writes: no atomics, and the same result on every run.
"""

# pyright: reportCallIssue=false, reportGeneralTypeIssues=false

from __future__ import annotations

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from .._tuning import Config, LaunchKey
from .reference import edge_rows
from .triton_common import (
    LOG2_E,
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
from .triton_tiles import (
    blocks,
    key_candidates,
    launch_key,
    merge_config,
    run_tuned,
    span_candidates,
)


@triton.jit(do_not_specialize=["num_rows", "num_edges", "span_size"])
def query_kernel(
    q,
    k,
    v,
    grad_out,
    lse,
    delta,
    indices,
    offsets,
    bias,
    sums,
    grad_bias,
    q_strides,
    k_strides,
    v_strides,
    grad_out_strides,
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
    OF_Q: tl.constexpr,
    OF_BIAS: tl.constexpr,
):
    span, group = program_place(groups)
    heads, m_heads = head_range(group, HEADS, BLOCK_M)
    begin = span * span_size
    stop = tl.minimum(begin + span_size, num_edges)
    row = row_of(begin, offsets, num_rows)
    while (begin < stop) & (row < num_rows):
        end = tl.minimum(tl.load(offsets + row + 1), stop)
        b_q = load_row(q, row, q_strides, heads, m_heads, D, BLOCK_D)[None, :, :]
        b_grad = load_row(grad_out, row, grad_out_strides, heads, m_heads, D, BLOCK_D)[None, :, :]
        place = row * HEADS + heads
        b_lse = tl.load(lse + place, mask=m_heads, other=0.0) * LOG2_E
        b_delta = tl.load(delta + place, mask=m_heads, other=0.0)
        b_sum = tl.zeros([BLOCK_M, BLOCK_D], tl.float32)
        for start in range(begin, end, BLOCK_E):
            edges = start + tl.arange(0, BLOCK_E)
            inside = edges < end
            keys = tl.load(indices + edges, mask=inside, other=0)
            b_k = load_rows(k, keys, inside, k_strides, heads, m_heads, D, BLOCK_D)
            b_v = load_rows(v, keys, inside, v_strides, heads, m_heads, D, BLOCK_D)
            scores = edge_scores(b_q, b_k, bias, edges, inside, scale, BIASED)
            weights = tl.exp2(scores - b_lse[None, :])  # [BLOCK_E, BLOCK_M]
            grad_scores = weights * (tl.sum(b_grad * b_v, 2) - b_delta[None, :])
            if OF_Q:
                b_sum += tl.sum(grad_scores[:, :, None] * b_k, 0)
            if OF_BIAS:
                of_group = tl.where(m_heads[None, :], grad_scores, 0.0)
                places = grad_bias + group.to(tl.int64) * num_edges + edges
                tl.store(places, tl.sum(of_group, 1), mask=inside)
        if OF_Q:
            store_row(sums, b_sum * scale, span + row, heads, m_heads, HEADS, D, BLOCK_D)
        begin = end
        row += 1


@triton.jit(do_not_specialize=["span_size"])
def sum_kernel(
    sums,
    offsets,
    grad_q,
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
    b_sum = tl.zeros([BLOCK_M, BLOCK_D], tl.float32)
    for start in range(first, last, BLOCK_E):
        slots = start + tl.arange(0, BLOCK_E)
        strides = (HEADS * D, D, 1)
        b_sum += tl.sum(
            load_rows(sums, slots, slots < last, strides, heads, m_heads, D, BLOCK_D), 0
        )
    store_row(grad_q, b_sum, row, heads, m_heads, HEADS, D, BLOCK_D)


@triton.jit
def key_kernel(
    q,
    k,
    v,
    grad_out,
    lse,
    delta,
    bias,
    order,
    rows,
    begins,
    grad_k,
    grad_v,
    q_strides,
    k_strides,
    v_strides,
    grad_out_strides,
    scale,
    groups,
    HEADS: tl.constexpr,
    D: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK_E: tl.constexpr,
    BIASED: tl.constexpr,
    OF_K: tl.constexpr,
    OF_V: tl.constexpr,
):
    key, group = program_place(groups)
    heads, m_heads = head_range(group, HEADS, BLOCK_M)
    b_k = load_row(k, key, k_strides, heads, m_heads, D, BLOCK_D)[None, :, :]
    b_v = load_row(v, key, v_strides, heads, m_heads, D, BLOCK_D)[None, :, :]
    b_grad_k = tl.zeros([BLOCK_M, BLOCK_D], tl.float32)
    b_grad_v = tl.zeros([BLOCK_M, BLOCK_D], tl.float32)
    end = tl.load(begins + key + 1)
    for start in range(tl.load(begins + key), end, BLOCK_E):
        places = start + tl.arange(0, BLOCK_E)
        inside = places < end
        edges = tl.load(order + places, mask=inside, other=0)
        b_rows = tl.load(rows + edges, mask=inside, other=0)
        b_q = load_rows(q, b_rows, inside, q_strides, heads, m_heads, D, BLOCK_D)
        b_grad = load_rows(grad_out, b_rows, inside, grad_out_strides, heads, m_heads, D, BLOCK_D)
        of_row = b_rows[:, None] * HEADS + heads[None, :]
        mask = inside[:, None] & m_heads[None, :]
        b_lse = tl.load(lse + of_row, mask=mask, other=0.0) * LOG2_E
        scores = edge_scores(b_q, b_k, bias, edges, inside, scale, BIASED)
        weights = tl.exp2(scores - b_lse)  # [BLOCK_E, BLOCK_M]
        if OF_V:
            b_grad_v += tl.sum(weights[:, :, None] * b_grad, 0)
        if OF_K:
            b_delta = tl.load(delta + of_row, mask=mask, other=0.0)
            grad_scores = weights * (tl.sum(b_grad * b_v, 2) - b_delta)
            b_grad_k += tl.sum(grad_scores[:, :, None] * b_q, 0)
    if OF_K:
        store_row(grad_k, b_grad_k * scale, key, heads, m_heads, HEADS, D, BLOCK_D)
    if OF_V:
        store_row(grad_v, b_grad_v, key, heads, m_heads, HEADS, D, BLOCK_D)


def _by_key(indices: Tensor, num_keys: int) -> tuple[Tensor, Tensor]:
    """The edges in the order of their keys (E,), and where each key's begin and end (N + 1,)."""
    keys, order = torch.sort(indices, stable=True)
    return order, torch.searchsorted(keys, torch.arange(num_keys + 1, device=keys.device))


def backward(
    grad_out: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    indices: Tensor,
    offsets: Tensor,
    bias: Tensor | None,
    out: Tensor,
    lse: Tensor,
    scale: float,
    needs: Sequence[bool],
) -> tuple[Tensor | None, ...]:
    """The gradients of q, k, v and the bias that ``needs`` asks for; that of the bias in float32.

    A pass that nobody asked for is left out.
    """
    if q.numel() == 0 or indices.numel() == 0:
        zeros = *(x.new_zeros(x.shape) for x in (q, k, v)), lse.new_zeros(indices.shape)
        return tuple(x if need else None for x, need in zip(zeros, needs, strict=True))
    rows, heads, dim = q.shape
    edges = indices.shape[0]
    delta = (grad_out.float() * out.float()).sum(-1)
    indices, offsets = indices.contiguous(), offsets.contiguous()
    bias = None if bias is None else bias.contiguous()
    of_rows = (q, k, v, grad_out, lse, delta)
    strides = [x.stride() for x in of_rows[:4]]
    key = launch_key(q, indices)
    grads: list[Tensor | None] = [None] * 4
    if needs[0] or needs[3]:

        def of_queries(config: Config) -> None:
            span, constants = config["SPAN"], blocks(config, q)
            groups = triton.cdiv(heads, constants["BLOCK_M"])
            slots = slot_count(edges, rows, span)
            sums = lse.new_empty((slots if needs[0] else 0, heads, dim))
            by_group = lse.new_empty((groups, edges if needs[3] else 0))
            launch(
                query_kernel,
                q,
                triton.cdiv(edges, span),
                *(*of_rows, indices, offsets, bias, sums, by_group),
                *(*strides, scale, rows, edges, span),
                BIASED=bias is not None,
                OF_Q=needs[0],
                OF_BIAS=needs[3],
                **constants,
            )
            grads[0] = _merged(sums, offsets, q, span, key) if needs[0] else None
            grads[3] = by_group.sum(0) if needs[3] else None

        run_tuned("query", key, span_candidates(), of_queries)
    if needs[1] or needs[2]:
        order, begins = _by_key(indices, k.shape[0])
        lists = (order, edge_rows(offsets, edges), begins)
        grads[1] = k.new_empty(k.shape) if needs[1] else None
        grads[2] = v.new_empty(v.shape) if needs[2] else None

        def of_keys(config: Config) -> None:
            launch(
                key_kernel,
                q,
                k.shape[0],
                *(*of_rows, bias, *lists, *grads[1:3], *strides, scale),
                BIASED=bias is not None,
                OF_K=needs[1],
                OF_V=needs[2],
                **blocks(config, q),
            )

        run_tuned("key", key, key_candidates(), of_keys)
    return tuple(grads)


def _merged(sums: Tensor, offsets: Tensor, q: Tensor, span: int, key: LaunchKey) -> Tensor:
    """The sum of each row's pieces, in the shape and type of q."""
    grad_q = q.new_empty(q.shape)
    constants = blocks(merge_config("sum", key), q)
    launch(sum_kernel, q, q.shape[0], sums, offsets, grad_q, span, **constants)
    return grad_q
