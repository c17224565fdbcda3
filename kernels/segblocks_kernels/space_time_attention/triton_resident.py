"""Forward of space-time attention where keys and values of a cell stay in shared memory."""

from __future__ import annotations

import triton
import triton.language as tl

from .triton_cells import (
    OPEN_SIZES,
    cell_rows,
    load_placed,
    load_rows,
    program_place,
    token_offsets,
)
from .triton_softmax import attend, store_attended


@triton.jit(do_not_specialize=OPEN_SIZES)
def resident_kernel(
    q,
    k,
    v,
    q_position,
    k_position,
    out,
    lse,
    q_strides,
    k_strides,
    v_strides,
    q_position_strides,
    k_position_strides,
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
    PLACED: tl.constexpr,
    OWN: tl.constexpr,
    VISIT: tl.constexpr,
    TILES: tl.constexpr,
):
    clip, head, cell_row, cell_column, _ = program_place(1, num_heads, grid_rows, grid_columns)
    q += clip * q_strides[0] + head * q_strides[3]
    k += clip * k_strides[0] + head * k_strides[3]
    v += clip * v_strides[0] + head * v_strides[3]
    q_position += head * q_position_strides[3]
    k_position += head * k_position_strides[3]
    out += clip * out_strides[0] + head * out_strides[3]

    # Transposed before the loop: a transposition inside it would keep the keys in registers.
    keys = ()
    values = ()
    insides = ()
    for tile in tl.static_range(TILES):  # pyright: ignore
        key_frame, key_row, key_inside = cell_rows(
            tile * VISIT + tl.arange(0, VISIT), cell_row, cell_column, num_slots,
            starts, heights, widths, CELL_SIZES, SLOTS_PER_FRAME, RAGGED,
        )  # fmt: skip
        b_k = load_placed(
            k, k_position, key_frame, key_row, key_inside, k_strides, k_position_strides,
            HEAD_DIM, BLOCK_D, PLACED,
        )  # fmt: skip
        b_v = load_rows(
            v, token_offsets(key_frame, key_row, v_strides), key_inside, v_strides,
            HEAD_DIM, BLOCK_D,
        )  # fmt: skip
        keys += (tl.trans(b_k),)
        values += (b_v,)
        insides += (key_inside,)

    for block in range(num_blocks):
        frame, row, inside = cell_rows(
            block * OWN + tl.arange(0, OWN), cell_row, cell_column, num_slots,
            starts, heights, widths, CELL_SIZES, SLOTS_PER_FRAME, RAGGED,
        )  # fmt: skip
        b_q = load_placed(
            q, q_position, frame, row, inside, q_strides, q_position_strides,
            HEAD_DIM, BLOCK_D, PLACED,
        )  # fmt: skip
        peak = tl.full([OWN], float("-inf"), dtype=tl.float32)
        total = tl.zeros([OWN], dtype=tl.float32)
        b_out = tl.zeros([OWN, BLOCK_D], dtype=tl.float32)
        for tile in tl.static_range(TILES):  # pyright: ignore
            peak, total, b_out = attend(
                peak, total, b_out, b_q, keys[tile], values[tile], insides[tile], scale_log2
            )
        store_attended(
            out, lse, peak, total, b_out, frame, row, inside, out_strides,
            clip, head, num_frames, num_tokens, num_heads, HEAD_DIM, BLOCK_D,
        )  # fmt: skip
