"""Forward of space-time attention: one pass over a cell's keys, tokens stay in place."""

from __future__ import annotations

import math

import torch
import triton
import triton.language as tl
from torch import Tensor

from .cells import Cells
from .triton_cells import (
    OPEN_SIZES,
    add_product,
    allocate,
    cell_rows,
    choose_tile,
    kernel_arguments,
    launch,
    load_rows,
    product,
    program_place,
    store_rows,
    strides,
    token_offsets,
)

LOG2_E = math.log2(math.e)
LN_2 = tl.constexpr(math.log(2.0))


@triton.jit(do_not_specialize=OPEN_SIZES)
def forward_kernel(
    q,
    k,
    v,
    out,
    lse,
    q_strides,
    k_strides,
    v_strides,
    out_strides,
    scale_log2,
    num_blocks,
    num_slots,
    num_frames,
    num_tokens,
    num_heads,
    grid_rows,
    grid_columns,
    starts,
    heights,
    widths,
    CELL_SIZES: tl.constexpr,
    SLOTS_PER_FRAME: tl.constexpr,
    RAGGED: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    BLOCK_D: tl.constexpr,
    OWN: tl.constexpr,
    VISIT: tl.constexpr,
):
    clip, head, cell_row, cell_column, block = program_place(
        num_blocks, num_heads, grid_rows, grid_columns
    )
    q += clip * q_strides[0] + head * q_strides[3]
    k += clip * k_strides[0] + head * k_strides[3]
    v += clip * v_strides[0] + head * v_strides[3]
    out += clip * out_strides[0] + head * out_strides[3]

    frame, row, inside = cell_rows(
        block * OWN + tl.arange(0, OWN), cell_row, cell_column, num_slots,
        starts, heights, widths, CELL_SIZES, SLOTS_PER_FRAME, RAGGED,
    )  # fmt: skip
    b_q = load_rows(
        q, token_offsets(frame, row, q_strides), inside, q_strides, HEAD_DIM, BLOCK_D
    )  # [OWN, BLOCK_D]
    peak = tl.full([OWN], float("-inf"), dtype=tl.float32)
    total = tl.zeros([OWN], dtype=tl.float32)
    b_out = tl.zeros([OWN, BLOCK_D], dtype=tl.float32)

    for start in range(0, num_slots, VISIT):
        key_frame, key_row, key_inside = cell_rows(
            start + tl.arange(0, VISIT), cell_row, cell_column, num_slots,
            starts, heights, widths, CELL_SIZES, SLOTS_PER_FRAME, RAGGED,
        )  # fmt: skip
        b_k = load_rows(
            k, token_offsets(key_frame, key_row, k_strides), key_inside, k_strides,
            HEAD_DIM, BLOCK_D,
        )  # fmt: skip
        scores = product(b_q, tl.trans(b_k)) * scale_log2  # [OWN, VISIT]
        scores = tl.where(key_inside[None, :], scores, float("-inf"))
        # Slot 0 always holds a token, so the peak is finite from the first step on.
        new_peak = tl.maximum(peak, tl.max(scores, 1))
        weights = tl.exp2(scores - new_peak[:, None])
        shrink = tl.exp2(peak - new_peak)
        total = total * shrink + tl.sum(weights, 1)
        b_v = load_rows(
            v, token_offsets(key_frame, key_row, v_strides), key_inside, v_strides,
            HEAD_DIM, BLOCK_D,
        )  # fmt: skip
        b_out = add_product(b_out * shrink[:, None], weights.to(b_v.dtype), b_v)
        peak = new_peak

    store_rows(
        out, b_out / total[:, None], token_offsets(frame, row, out_strides), inside, out_strides,
        HEAD_DIM, BLOCK_D,
    )  # fmt: skip
    token = (clip * num_frames + frame) * num_tokens + row
    tl.store(lse + token * num_heads + head, (peak + tl.log2(total)) * LN_2, inside)


def forward(q: Tensor, k: Tensor, v: Tensor, cells: Cells, scale: float) -> tuple[Tensor, Tensor]:
    """Launch the forward kernel.

    Returns:
        The output (B, T, N, M, D) and the log-sum-exp (B, T, N, M) in float32; tokens of no cell
        are zero in both.
    """
    out = allocate(q.shape, q.dtype, q, cells)
    lse = allocate(q.shape[:-1], torch.float32, q, cells)
    arguments = kernel_arguments(q, cells)
    tile = choose_tile(arguments["num_slots"], arguments["BLOCK_D"], q.dtype, backward=False)
    launch(
        forward_kernel,
        q,
        triton.cdiv(arguments["num_slots"], tile.own),
        *(q, k, v, out, lse),
        *strides(q, k, v, out),
        scale * LOG2_E,
        **arguments,
        OWN=tile.own,
        VISIT=tile.visit,
        num_warps=tile.num_warps,
    )
    return out, lse
