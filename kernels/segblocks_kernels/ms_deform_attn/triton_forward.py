"""The forward Triton kernel of deformable attention."""

# Triton's launch syntax and static_range are beyond the type checker.
# pyright: reportCallIssue=false, reportGeneralTypeIssues=false

from __future__ import annotations

from collections.abc import Sequence

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


@triton.jit
def _add_corner(
    acc,
    p_value,
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
):
    m_row = is_inside(row, column, height, width, m_query)[:, None]
    if o_d.shape[0] != D:
        m_row = m_row & (o_d < D)[None, :]
    offset = token_offset(row, column, width, start, pitch, WIDE)
    b_value = tl.load(p_value + offset[:, None] + o_d[None, :], mask=m_row, other=0.0)  # [BQ, BD]
    return acc + b_value.to(ACC) * weight[:, None]


@triton.jit
def add_sample(
    acc,
    p_value,
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
):
    """Add a sample of each query to ``acc`` [BQ, BD], given its pixel above left and fractions."""
    bottom = b_weight * lower_part
    above = b_weight - bottom
    c = left.to(tl.int32)
    r = top.to(tl.int32)
    for corner in tl.static_range(4):
        vertical = bottom if corner >= 2 else above
        weight = vertical * (right_part if corner % 2 == 1 else 1 - right_part)
        acc = _add_corner(
            acc,
            p_value,
            r + corner // 2,
            c + corner % 2,
            weight,
            height,
            width,
            start,
            pitch,
            o_d,
            m_query,
            D,
            WIDE,
            ACC,
        )
    return acc


@triton.jit(do_not_specialize=["Q", "N"])
def _forward_kernel(
    p_value,
    p_locations,
    p_weights,
    p_out,
    shapes,
    N,
    Q,
    M,
    D: tl.constexpr,
    L: tl.constexpr,
    P: tl.constexpr,
    BQ: tl.constexpr,
    BD: tl.constexpr,
    WIDE: tl.constexpr,
    ACC: tl.constexpr,
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
    p_value += i_b * N * pitch + i_m * D
    p_locations += i_b * Q * M * (L * P * 2)
    p_weights += i_b * Q * M * (L * P)
    acc = tl.zeros([BQ, BD], ACC)
    start = 0
    for level in tl.static_range(L):
        height = decode_size(shapes[2 * level])
        width = decode_size(shapes[2 * level + 1])
        for point in range(P):
            o_sample = (o_q * M + i_m) * (L * P) + (level * P + point)
            x, y = sample_position(p_locations, o_sample, m_q, height, width, ACC)
            b_weight = tl.load(p_weights + o_sample, mask=m_q, other=0.0).to(ACC)
            left, top = pixel_above(x, y, 0.0)
            acc = add_sample(
                acc,
                p_value,
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
            )
        start += height * width
    m_out = m_q[:, None]
    if BD != D:
        m_out = m_out & (o_d < D)[None, :]
    p_out += i_b * Q * pitch + i_m * D
    p_rows = p_out + o_q[:, None] * pitch + o_d[None, :]
    tl.store(p_rows, acc.to(p_out.dtype.element_ty), mask=m_out)


def forward_triton(
    value: Tensor,
    spatial_shapes: Sequence[tuple[int, int]],
    sampling_locations: Tensor,
    attention_weights: Tensor,
) -> Tensor:
    """The output, in the type of ``value``; arguments as in ``ms_deform_attn``."""
    launch = plan(value, sampling_locations)
    out = value.new_empty((launch.batch, launch.queries, launch.heads * launch.dim))
    if out.numel() == 0:
        return out
    inputs = [t.contiguous() for t in (value, sampling_locations, attention_weights)]

    def run(config: Config) -> None:
        with on_device(value.device):
            _forward_kernel[launch.grid(config["BQ"])](
                *inputs,
                out,
                encode_sizes(size for shape in spatial_shapes for size in shape),
                value.shape[1],
                launch.queries,
                launch.heads,
                D=launch.dim,
                L=launch.levels,
                P=launch.points,
                BD=launch.block_d,
                WIDE=launch.wide,
                ACC=launch.triton_accumulator,
                **config,
            )

    run_tuned("forward", value, launch, candidates(launch), run)
    return out
