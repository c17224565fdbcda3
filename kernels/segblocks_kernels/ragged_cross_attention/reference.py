"""The specification of ragged cross-attention: a softmax over segments of edges, some at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

# Gathered rows held at a time: at M=8 and D=32 in float32, 2 MiB of cache on the CPU, and 64 MiB
# elsewhere, where a chunk has to be worth its launches.
_EDGES_ON_CPU = 1 << 11
_EDGES_ELSEWHERE = 1 << 16


def _chunks(index: Tensor) -> Iterator[slice]:
    step = _EDGES_ON_CPU if index.device.type == "cpu" else _EDGES_ELSEWHERE
    for first in range(0, index.shape[0], step):
        yield slice(first, first + step)


def edge_rows(offsets: Tensor, num_edges: int) -> Tensor:
    """The row that each edge belongs to (E,)."""
    rows = torch.arange(offsets.shape[0] - 1, device=offsets.device)
    # Saying the size spares the host a look at the device.
    return torch.repeat_interleave(rows, offsets.diff(), output_size=num_edges)


def _gathered_dot(a: Tensor, a_index: Tensor, b: Tensor, b_index: Tensor) -> Tensor:
    """<a[a_index], b[b_index]> per edge and head (E, M), in at least float32."""
    dtype = torch.promote_types(a.dtype, torch.float32)
    dots = []
    for some in _chunks(a_index):
        left = a.index_select(0, a_index[some]).to(dtype)
        dots.append((left * b.index_select(0, b_index[some]).to(dtype)).sum(-1))
    if not dots:
        return a.new_zeros((0, a.shape[1]), dtype=dtype)
    return torch.cat(dots) if len(dots) > 1 else dots[0]


def _scattered_sum(
    weights: Tensor, x: Tensor, x_index: Tensor, index: Tensor, num_rows: int
) -> Tensor:
    """Sum weights * x[x_index] into rows ``index`` (num_rows, M, D), in the type of the weights."""
    total = weights.new_zeros((num_rows, *x.shape[1:]))
    for some in _chunks(index):
        part = x.index_select(0, x_index[some]).to(weights.dtype)
        total.index_add_(0, index[some], part * weights[some].unsqueeze(-1))
    return total


def _segment_softmax(scores: Tensor, rows: Tensor, num_rows: int) -> Tensor:
    """Softmax of (E, M) over the edges of each row; an edge at -inf counts for nothing."""
    index = rows.unsqueeze(-1).expand_as(scores)
    peak = scores.new_full((num_rows, scores.shape[1]), -torch.inf)
    peak = peak.scatter_reduce(0, index, scores, "amax")
    # A row whose edges are all at -inf: any finite peak makes all its weights zero.
    peak = peak.masked_fill(peak == -torch.inf, 0.0)
    weights = (scores - peak.index_select(0, rows)).exp()
    total = torch.zeros_like(peak).index_add(0, rows, weights)
    total = total.masked_fill(total == 0, 1.0)
    return weights / total.index_select(0, rows)


def ragged_cross_attention_reference(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    indices: Tensor,
    offsets: Tensor,
    bias: Tensor | None,
    scale: float,
) -> tuple[Tensor, Tensor]:
    """Attend from each row to its own list of keys.

    Args:
        q: (R, M, D).
        k: (N, M, D).
        v: (N, M, D).
        indices: keys of all rows, row after row (E,) int64.
        offsets: where each row's keys start and end (R + 1,) int64.
        bias: what is added to the scores of each edge (E,), or None.
        scale: what scores are multiplied with.

    Returns:
        The output (R, M, D), and the weight of each edge (E, M) in at least float32.
    """
    rows = edge_rows(offsets, indices.shape[0])
    scores = _gathered_dot(q, rows, k, indices) * scale
    if bias is not None:
        scores = scores + bias.to(scores.dtype).unsqueeze(-1)
    weights = _segment_softmax(scores, rows, q.shape[0])
    return _scattered_sum(weights, v, indices, rows, q.shape[0]).to(q.dtype), weights


def ragged_cross_attention_backward_reference(
    grad_out: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    indices: Tensor,
    offsets: Tensor,
    out: Tensor,
    weights: Tensor,
    scale: float,
    needs: Sequence[bool],
) -> tuple[Tensor | None, Tensor | None, Tensor | None, Tensor | None]:
    """The gradients of q, k, v and the bias that ``needs`` asks for; that of the bias is not cast.

    Rows are gathered anew, some at a time; the README has the formulae.
    """
    need_q, need_k, need_v, need_bias = needs
    rows = edge_rows(offsets, indices.shape[0])
    grad_q = grad_k = grad_v = grad_bias = None
    if need_v:
        grad_v = _scattered_sum(weights, grad_out, rows, indices, v.shape[0]).to(v.dtype)
    if need_q or need_k or need_bias:
        delta = (grad_out.to(weights.dtype) * out.to(weights.dtype)).sum(-1)
        grad_scores = _gathered_dot(grad_out, rows, v, indices) - delta.index_select(0, rows)
        grad_scores = weights * grad_scores
        if need_bias:
            grad_bias = grad_scores.sum(-1)
        scaled = grad_scores * scale
        if need_q:
            grad_q = _scattered_sum(scaled, k, indices, rows, q.shape[0]).to(q.dtype)
        if need_k:
            grad_k = _scattered_sum(scaled, q, rows, indices, k.shape[0]).to(k.dtype)
    return grad_q, grad_k, grad_v, grad_bias
