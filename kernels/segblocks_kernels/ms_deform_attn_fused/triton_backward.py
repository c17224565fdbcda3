"""The backward Triton kernel of fused deformable attention: positions and softmax once more."""

# Triton's launch syntax, static_range and indexing are beyond the type checker.
# pyright: reportCallIssue=false, reportGeneralTypeIssues=false, reportArgumentType=false

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from .._device import on_device
from .._triton_sizes import decode_size, encode_sizes
from .._tuning import Config
from ..ms_deform_attn import triton_sorted
from ..ms_deform_attn.triton_backward import differentiate_sample
from ..ms_deform_attn.triton_replicas import Sums, copy_of_level, with_limits
from . import anchors as torch_anchors
from .anchors import Shapes
from .reference import Gradients, attention_weights, finish
from .triton_common import anchors, candidates, locate, plan, run_tuned, softmax, tile_of_pixels


@triton.jit(do_not_specialize=["Q", "N", "E", "B", "tiles", "s_b", "s_q", "s_l", "s_axis"])
def _backward_kernel(
    p_grad_out,
    p_value,
    p_points,
    p_offsets,
    p_logits,
    p_grad_value,
    p_grad_offsets,
    p_grad_logits,
    shapes,
    counts,
    N,
    E,
    B,
    Q,
    M,
    tiles,
    s_b,
    s_q,
    s_l,
    s_axis,
    SELF: tl.constexpr,
    DOTS: tl.constexpr,
    SCATTER: tl.constexpr,
    D: tl.constexpr,
    L: tl.constexpr,
    P: tl.constexpr,
    S: tl.constexpr,
    R: tl.constexpr,
    TH: tl.constexpr,
    TW: tl.constexpr,
    BD: tl.constexpr,
    WIDE: tl.constexpr,
    ACC: tl.constexpr,
):
    i_tile = tl.program_id(0) % tiles
    i_head = tl.program_id(0) // tiles
    i_b = (i_head // M).to(tl.int64)
    i_m = i_head % M
    if WIDE:
        i_tile = i_tile.to(tl.int64)
    if SELF:
        o_q, row, column, m_q, own_height, own_width = tile_of_pixels(i_tile, shapes, L, TH, TW)
    else:
        o_q = i_tile * TW + tl.arange(0, TW)
        m_q = o_q < Q
        row, column, own_height, own_width = o_q, o_q, 1, 1
        p_points += i_b * s_b + o_q.to(tl.int64) * s_q
    o_d = tl.arange(0, BD)
    pitch = M * D
    o_value = i_b * N * pitch + i_m * D
    o_queries = i_b * Q * M * (L * P)
    p_offsets += 2 * o_queries
    p_logits += o_queries
    p_value += o_value
    if SCATTER:
        p_grad_value += o_value
    if DOTS:
        p_grad_offsets += 2 * o_queries
        p_grad_logits += o_queries
    m_row = m_q[:, None]
    if BD != D:
        m_row = m_row & (o_d < D)[None, :]
    p_row = p_grad_out + i_b * Q * pitch + i_m * D + o_q[:, None] * pitch + o_d[None, :]
    b_grad = tl.load(p_row, mask=m_row, other=0.0).to(ACC)  # [BQ, BD]
    o_first = (o_q * M + i_m) * (L * P)
    b_weights, peak, scale = softmax(p_logits, o_first, m_q, L * P, S, ACC)
    o_s = tl.arange(0, S)
    b_slopes = tl.zeros([TH * TW, S], ACC)
    copies = (B - i_b) * N + i_b * E
    start = 0
    first = 0
    for level in tl.static_range(L):
        height = decode_size(shapes[2 * level])
        width = decode_size(shapes[2 * level + 1])
        x_whole, x_part, y_whole, y_part = anchors(
            p_points + level * s_l if not SELF else p_points,
            row,
            column,
            m_q,
            own_height,
            own_width,
            height,
            width,
            s_axis,
            SELF,
            ACC,
        )
        p_level = p_grad_value
        if R > 1:
            count = decode_size(counts[level])
            copy = i_tile % count
            pixels = height * width
            p_level = copy_of_level(p_grad_value, copy, copies, first, start, pixels, pitch)
            first += (count - 1) * pixels
        for point in range(P):
            o_sample = o_first + (level * P + point)
            x_offset = tl.load(p_offsets + 2 * o_sample, mask=m_q, other=0.0).to(ACC)
            y_offset = tl.load(p_offsets + 2 * o_sample + 1, mask=m_q, other=0.0).to(ACC)
            b_logit = tl.load(p_logits + o_sample, mask=m_q, other=0.0).to(ACC)
            b_weight = tl.exp(b_logit - peak) * scale
            left, top, right_part, lower_part = locate(
                x_whole, x_part, y_whole, y_part, x_offset, y_offset, height, width, -2.0
            )
            value_slope, x_slope, y_slope = differentiate_sample(
                p_value,
                p_level,
                b_grad,
                left,
                top,
                right_part,
                lower_part,
                b_weight,
                height,
                width,
                start,
                pitch,
                o_d,
                m_q,
                D,
                WIDE,
                ACC,
                DOTS,
                SCATTER,
            )
            if DOTS:
                p_grad_offset = p_grad_offsets + 2 * o_sample
                is_sample = (o_s == level * P + point)[None, :]
                b_slopes = tl.where(is_sample, value_slope[:, None], b_slopes)
                tl.store(p_grad_offset, x_slope * b_weight, mask=m_q)
                tl.store(p_grad_offset + 1, y_slope * b_weight, mask=m_q)
        start += height * width
    if DOTS:
        mean_slope = tl.sum(b_weights * b_slopes, axis=1)
        b_grad_logits = b_weights * (b_slopes - mean_slope[:, None])
        p_block = p_grad_logits + o_first[:, None] + o_s[None, :]
        tl.store(p_block, b_grad_logits, mask=m_q[:, None] & (o_s < L * P)[None, :])


def _grad_value_sorted(
    grad_out: Tensor,
    value: Tensor,
    spatial_shapes: Shapes,
    reference_points: Tensor | None,
    offsets: Tensor,
    logits: Tensor,
    dtype: torch.dtype,
) -> Tensor:
    anchored = torch_anchors.make_anchors(reference_points, spatial_shapes, offsets, dtype)
    samples = torch_anchors.locate(anchored, offsets.to(dtype))
    weights = attention_weights(logits, dtype)
    return triton_sorted.grad_value_sorted(grad_out, value, spatial_shapes, *samples, weights)


def backward_triton(
    grad_out: Tensor,
    value: Tensor,
    spatial_shapes: Shapes,
    reference_points: Tensor | None,
    offsets: Tensor,
    logits: Tensor,
    needs: tuple[bool, bool, bool, bool],
) -> Gradients:
    """The gradients of value, reference points, offsets and logits; the last two uncast.

    Under ``torch.use_deterministic_algorithms`` the gradient of ``value`` is summed in a fixed
    order, from sorted samples, instead of by atomics.
    """
    launch = plan(value, spatial_shapes, reference_points, offsets, logits)
    dots = any(needs[1:])
    sort = needs[0] and torch.are_deterministic_algorithms_enabled()
    scatter = needs[0] and not sort
    grad_out, value, offsets, logits = (t.contiguous() for t in (grad_out, value, offsets, logits))
    accumulator = launch.accumulator
    # Sums of many small shares: never kept in half precision, cast once at the end.
    of_value = None
    of_offsets = offsets.new_empty(offsets.shape, dtype=accumulator) if dots else None
    of_logits = logits.new_empty(logits.shape, dtype=accumulator) if dots else None
    strides = (0, 0, 0, 0) if reference_points is None else reference_points.stride()

    def run(config: Config) -> None:
        nonlocal of_value
        samples = launch.queries * launch.points
        source = value if scatter else None
        sums = Sums.zeros(source, spatial_shapes, samples, accumulator, config["R"])
        grid = launch.grid(config)
        if grid[0] == 0 or launch.points == 0:
            of_value = sums.fold()
            return
        with on_device(value.device):
            _backward_kernel[grid](
                grad_out,
                value,
                reference_points,
                offsets,
                logits,
                sums.total,
                of_offsets,
                of_logits,
                encode_sizes(size for shape in spatial_shapes for size in shape),
                encode_sizes(sums.counts),
                value.shape[1],
                sums.extra,
                launch.batch,
                launch.queries,
                launch.heads,
                launch.tiles(config),
                *strides,
                DOTS=dots,
                SCATTER=scatter,
                **launch.constants,
                **config | {"R": sums.limit},
            )
        of_value = sums.fold()

    if dots or scatter:
        run_tuned("backward", value, launch, with_limits(candidates(launch)), run)
    if sort:
        inputs = value, spatial_shapes, reference_points, offsets, logits
        of_value = _grad_value_sorted(grad_out, *inputs, accumulator)
    return finish(needs, reference_points, spatial_shapes, of_value, of_offsets, of_logits)
