"""Forward of space-time attention: one pass over a cell's keys, tokens stay in place."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from .._tuning import Config
from .cells import Cells
from .triton_cells import (
    OPEN_SIZES,
    allocate,
    broadcast,
    cell_rows,
    kernel_arguments,
    launch,
    load_placed,
    load_rows,
    program_place,
    strides,
    token_offsets,
)
from .triton_resident import resident_kernel
from .triton_softmax import LOG2_E, attend, store_attended
from .triton_tiles import forward_candidates, is_resident, run_tuned


@triton.jit(do_not_specialize=OPEN_SIZES)
def forward_kernel(
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
):
    clip, head, cell_row, cell_column, block = program_place(
        num_blocks, num_heads, grid_rows, grid_columns
    )
    q += clip * q_strides[0] + head * q_strides[3]
    k += clip * k_strides[0] + head * k_strides[3]
    v += clip * v_strides[0] + head * v_strides[3]
    q_position += head * q_position_strides[3]
    k_position += head * k_position_strides[3]
    out += clip * out_strides[0] + head * out_strides[3]

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

    for start in range(0, num_slots, VISIT):
        key_frame, key_row, key_inside = cell_rows(
            start + tl.arange(0, VISIT), cell_row, cell_column, num_slots,
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
        peak, total, b_out = attend(
            peak, total, b_out, b_q, tl.trans(b_k), b_v, key_inside, scale_log2
        )

    store_attended(
        out, lse, peak, total, b_out, frame, row, inside, out_strides,
        clip, head, num_frames, num_tokens, num_heads, HEAD_DIM, BLOCK_D,
    )  # fmt: skip


def forward(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    q_position: Tensor | None,
    k_position: Tensor | None,
    cells: Cells,
    scale: float,
) -> tuple[Tensor, Tensor]:
    """Launch a forward kernel.

    Returns:
        The output (B, T, N, M, D) and the log-sum-exp (B, T, N, M) in float32; tokens of no cell
        are zero in both.
    """
    out = allocate(q.shape, q.dtype, q, cells)
    lse = allocate(q.shape[:-1], torch.float32, q, cells)
    sizes = kernel_arguments(q, cells, placed=q_position is not None)
    num_slots = sizes["num_slots"]
    tensors = (q, k, v, broadcast(q_position, q), broadcast(k_position, k), out)
    arguments = (*tensors, lse, *strides(*tensors), scale * LOG2_E)

    def run(config: Config) -> None:
        num_blocks = triton.cdiv(num_slots, config["OWN"])
        settings = sizes | config | {"num_blocks": num_blocks}
        if resident:
            tiles = triton.cdiv(num_slots, config["VISIT"])
            launch(resident_kernel, q, num_blocks, *arguments, **settings, TILES=tiles)
        else:
            launch(forward_kernel, q, 1, *arguments, **settings)

    resident = is_resident(q, num_slots)
    kernel = "resident" if resident else "forward"
    run_tuned(kernel, q, num_slots, forward_candidates(q, resident=resident), run)
    return out, lse
