"""The forward Triton kernel of fused deformable attention."""

# Triton's launch syntax, static_range and indexing are beyond the type checker.
# pyright: reportCallIssue=false, reportGeneralTypeIssues=false, reportArgumentType=false

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from .._device import on_device
from .._triton_sizes import decode_size, encode_sizes
from .._tuning import Config
from ..ms_deform_attn.triton_forward import add_sample
from .anchors import Shapes
from .triton_common import anchors, candidates, locate, plan, run_tuned, softmax, tile_of_pixels


@triton.jit(do_not_specialize=["Q", "N", "tiles", "s_b", "s_q", "s_l", "s_axis"])
def _forward_kernel(
    p_value,
    p_points,
    p_offsets,
    p_logits,
    p_out,
    shapes,
    N,
    Q,
    M,
    tiles,
    s_b,
    s_q,
    s_l,
    s_axis,
    SELF: tl.constexpr,
    D: tl.constexpr,
    L: tl.constexpr,
    P: tl.constexpr,
    S: tl.constexpr,
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
    p_value += i_b * N * pitch + i_m * D
    p_offsets += i_b * Q * M * (L * P * 2)
    p_logits += i_b * Q * M * (L * P)
    o_first = (o_q * M + i_m) * (L * P)
    _, peak, scale = softmax(p_logits, o_first, m_q, L * P, S, ACC)
    acc = tl.zeros([TH * TW, BD], ACC)
    start = 0
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
        for point in range(P):
            o_sample = o_first + (level * P + point)
            x_offset = tl.load(p_offsets + 2 * o_sample, mask=m_q, other=0.0).to(ACC)
            y_offset = tl.load(p_offsets + 2 * o_sample + 1, mask=m_q, other=0.0).to(ACC)
            b_logit = tl.load(p_logits + o_sample, mask=m_q, other=0.0).to(ACC)
            left, top, right_part, lower_part = locate(
                x_whole, x_part, y_whole, y_part, x_offset, y_offset, height, width, 0.0
            )
            acc = add_sample(
                acc,
                p_value,
                left,
                top,
                right_part,
                lower_part,
                tl.exp(b_logit - peak) * scale,
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
    spatial_shapes: Shapes,
    reference_points: Tensor | None,
    offsets: Tensor,
    logits: Tensor,
) -> Tensor:
    """The output, in the type of ``value``; arguments as of the reference."""
    launch = plan(value, spatial_shapes, reference_points, offsets, logits)
    out = value.new_empty((launch.batch, launch.queries, launch.heads * launch.dim))
    if out.numel() == 0 or launch.points == 0:
        return out.zero_()
    strides = (0, 0, 0, 0) if reference_points is None else reference_points.stride()
    value, offsets, logits = (t.contiguous() for t in (value, offsets, logits))

    def run(config: Config) -> None:
        with on_device(value.device):
            _forward_kernel[launch.grid(config)](
                value,
                reference_points,
                offsets,
                logits,
                out,
                encode_sizes(size for shape in spatial_shapes for size in shape),
                value.shape[1],
                launch.queries,
                launch.heads,
                launch.tiles(config),
                *strides,
                **launch.constants,
                **config,
            )

    run_tuned("forward", value, launch, candidates(launch), run)
    return out
