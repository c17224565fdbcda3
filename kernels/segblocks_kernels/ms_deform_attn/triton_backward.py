"""The backward Triton kernel of deformable attention: recomputes the corners, saves nothing."""

# Triton's launch syntax and static_range are beyond the type checker.
# pyright: reportCallIssue=false, reportGeneralTypeIssues=false

from __future__ import annotations

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from .._device import on_device
from .._triton_sizes import decode_size, encode_sizes
from .._tuning import Config
from .triton_common import (
    candidates,
    is_inside,
    pixel_above,
    plan,
    run_tuned,
    sample_position,
    token_offset,
)
from .triton_replicas import Sums, copy_of_level, with_limits
from .triton_sorted import grad_value_sorted, locate


@triton.jit
def _corner(
    p_value,
    p_grad_value,
    b_grad,
    row,
    column,
    weight,
    height,
    width,
    start,
    pitch,
    o_d,
    m_query,
    D: tl.constexpr,
    WIDE: tl.constexpr,
    ACC: tl.constexpr,
    DOTS: tl.constexpr,
    SCATTER: tl.constexpr,
):
    """Dot product of the incoming gradient with one corner [BQ], and its share for that corner."""
    m_row = is_inside(row, column, height, width, m_query)[:, None]
    # Constant along the channels where it can be, or the atomics are not vectorised.
    if o_d.shape[0] != D:
        m_row = m_row & (o_d < D)[None, :]
    offset = token_offset(row, column, width, start, pitch, WIDE)[:, None] + o_d[None, :]
    if SCATTER:
        tl.atomic_add(p_grad_value + offset, b_grad * weight[:, None], mask=m_row, sem="relaxed")
    dot = tl.zeros_like(weight)
    if DOTS:
        b_value = tl.load(p_value + offset, mask=m_row, other=0.0).to(ACC)  # [BQ, BD]
        dot = tl.sum(b_grad * b_value, axis=1)
    return dot


@triton.jit
def differentiate_sample(
    p_value,
    p_grad_value,
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
    m_query,
    D: tl.constexpr,
    WIDE: tl.constexpr,
    ACC: tl.constexpr,
    DOTS: tl.constexpr,
    SCATTER: tl.constexpr,
):
    """Spread the gradient of a sample of each query over its four corners.

    Returns the products of the incoming gradient with the sample, and with its derivatives across
    and down, in pixels; each [BQ].
    """
    c = left.to(tl.int32)
    r = top.to(tl.int32)
    value_slope = tl.zeros_like(right_part)
    x_slope = tl.zeros_like(right_part)
    y_slope = tl.zeros_like(right_part)
    for corner in tl.static_range(4):
        horizontal = right_part if corner % 2 == 1 else 1 - right_part
        vertical = lower_part if corner >= 2 else 1 - lower_part
        dot = _corner(
            p_value,
            p_grad_value,
            b_grad,
            r + corner // 2,
            c + corner % 2,
            b_weight * horizontal * vertical,
            height,
            width,
            start,
            pitch,
            o_d,
            m_query,
            D,
            WIDE,
            ACC,
            DOTS,
            SCATTER,
        )
        value_slope += dot * horizontal * vertical
        x_slope += dot * (vertical if corner % 2 == 1 else -vertical)
        y_slope += dot * (horizontal if corner >= 2 else -horizontal)
    return value_slope, x_slope, y_slope


@triton.jit(do_not_specialize=["Q", "N", "E", "B"])
def _backward_kernel(
    p_grad_out,
    p_value,
    p_locations,
    p_weights,
    p_grad_value,
    p_grad_locations,
    p_grad_weights,
    shapes,
    counts,
    N,
    E,
    B,
    Q,
    M,
    D: tl.constexpr,
    L: tl.constexpr,
    P: tl.constexpr,
    R: tl.constexpr,
    BQ: tl.constexpr,
    BD: tl.constexpr,
    WIDE: tl.constexpr,
    ACC: tl.constexpr,
    DOTS: tl.constexpr,
    SCATTER: tl.constexpr,
):
    tiles = tl.cdiv(Q, BQ)
    i_tile = tl.program_id(0) % tiles
    i_head = tl.program_id(0) // tiles
    i_b = (i_head // M).to(tl.int64)
    i_m = i_head % M
    o_q = i_tile * BQ + tl.arange(0, BQ)
    m_q = o_q < Q
    if WIDE:
        o_q = o_q.to(tl.int64)
    o_d = tl.arange(0, BD)
    pitch = M * D
    o_value = i_b * N * pitch + i_m * D
    o_queries = i_b * Q * M * (L * P)
    p_locations += 2 * o_queries
    p_weights += o_queries
    p_value += o_value
    if SCATTER:
        p_grad_value += o_value
    if DOTS:
        p_grad_locations += 2 * o_queries
        p_grad_weights += o_queries
    m_grad = m_q[:, None]
    if BD != D:
        m_grad = m_grad & (o_d < D)[None, :]
    p_grad = p_grad_out + i_b * Q * pitch + i_m * D + o_q[:, None] * pitch + o_d[None, :]
    b_grad = tl.load(p_grad, mask=m_grad, other=0.0).to(ACC)  # [BQ, BD]
    copies = (B - i_b) * N + i_b * E
    start = 0
    first = 0
    for level in tl.static_range(L):
        height = decode_size(shapes[2 * level])
        width = decode_size(shapes[2 * level + 1])
        p_level = p_grad_value
        if R > 1:
            count = decode_size(counts[level])
            copy = i_tile % count
            pixels = height * width
            p_level = copy_of_level(p_grad_value, copy, copies, first, start, pixels, pitch)
            first += (count - 1) * pixels
        for point in range(P):
            o_sample = (o_q * M + i_m) * (L * P) + (level * P + point)
            x, y = sample_position(p_locations, o_sample, m_q, height, width, ACC)
            b_weight = tl.load(p_weights + o_sample, mask=m_q, other=0.0).to(ACC)
            left, top = pixel_above(x, y, -2.0)
            value_slope, x_slope, y_slope = differentiate_sample(
                p_value,
                p_level,
                b_grad,
                left,
                top,
                x - left,
                y - top,
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
                p_grad_location = p_grad_locations + 2 * o_sample
                tl.store(p_grad_weights + o_sample, value_slope, mask=m_q)
                tl.store(p_grad_location, x_slope * b_weight * width, mask=m_q)
                tl.store(p_grad_location + 1, y_slope * b_weight * height, mask=m_q)
        start += height * width


def backward_triton(
    grad_out: Tensor,
    value: Tensor,
    spatial_shapes: Sequence[tuple[int, int]],
    sampling_locations: Tensor,
    attention_weights: Tensor,
    needs: tuple[bool, bool, bool],
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """The gradients that ``needs`` asks for, in the types of their inputs.

    Under ``torch.use_deterministic_algorithms`` the gradient of ``value`` is summed in a fixed
    order, from sorted samples, instead of by atomics.
    """
    launch = plan(value, sampling_locations)
    dots = needs[1] or needs[2]
    sort = needs[0] and torch.are_deterministic_algorithms_enabled()
    scatter = needs[0] and not sort
    sources = (value, sampling_locations, attention_weights)
    inputs = [t.contiguous() for t in (grad_out, *sources)]
    # Sums of many small shares: never kept in half precision, cast once at the end.
    accumulator = launch.accumulator
    of_value = None
    others = [t.new_empty(t.shape, dtype=accumulator) if dots else None for t in sources[1:]]

    def run(config: Config) -> None:
        nonlocal of_value
        samples = launch.queries * launch.points
        source = value if scatter else None
        sums = Sums.zeros(source, spatial_shapes, samples, accumulator, config["R"])
        grid = launch.grid(config["BQ"])
        if grid[0] == 0:
            of_value = sums.fold()
            return
        with on_device(value.device):
            _backward_kernel[grid](
                *inputs,
                sums.total,
                *others,
                encode_sizes(size for shape in spatial_shapes for size in shape),
                encode_sizes(sums.counts),
                value.shape[1],
                sums.extra,
                launch.batch,
                launch.queries,
                launch.heads,
                D=launch.dim,
                L=launch.levels,
                P=launch.points,
                BD=launch.block_d,
                WIDE=launch.wide,
                ACC=launch.triton_accumulator,
                DOTS=dots,
                SCATTER=scatter,
                **config | {"R": sums.limit},
            )
        of_value = sums.fold()

    if dots or scatter:
        run_tuned("backward", value, launch, with_limits(candidates(launch)), run)
    if sort:
        samples = locate(inputs[2].to(accumulator), spatial_shapes)
        of_value = grad_value_sorted(inputs[0], value, spatial_shapes, *samples, inputs[3])
    results = [
        grad.to(source.dtype) if grad is not None and needed else None
        for grad, source, needed in zip((of_value, *others), sources, needs, strict=True)
    ]
    return results[0], results[1], results[2]
