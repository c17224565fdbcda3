"""What the Triton kernels share: the token behind a slot of a cell, and launch arithmetic."""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from .._device import on_device
from .._triton_sizes import decode_size, encode_sizes, padded_head
from .cells import Cells

# Sizes that change from clip to clip: no compilation of their own for a 1 or a multiple of 16.
OPEN_SIZES = [
    "num_blocks",
    "num_slots",
    "num_frames",
    "num_tokens",
    "grid_rows",
    "grid_columns",
]


@triton.jit
def level_rows(
    local, cell_row, cell_column, start, height, width, SIDE: tl.constexpr, RAGGED: tl.constexpr
):
    """Row of each slot of one level's cell, and whether it lies in that cell and in the level."""
    y = cell_row * SIDE + local // SIDE
    x = cell_column * SIDE + local % SIDE
    here = (local >= 0) & (local < SIDE * SIDE)
    inside = here
    if RAGGED:
        inside = here & (y < height) & (x < width)
    return start + y * width + x, here, inside


@triton.jit
def cell_rows(
    slot,
    cell_row,
    cell_column,
    num_slots,
    starts,
    heights,
    widths,
    CELL_SIZES: tl.constexpr,
    SLOTS_PER_FRAME: tl.constexpr,
    RAGGED: tl.constexpr,
):
    """Frame and row of each slot, and whether the slot holds a token at all.

    Slots run over frames, then levels, then the pixels of a full cell, row-major.
    """
    frame = slot // SLOTS_PER_FRAME
    # Counts down level by level, so that it lies in [0, side**2) exactly at the slot's own level.
    local = slot % SLOTS_PER_FRAME
    row = tl.zeros_like(slot)
    inside = slot < 0
    for i in tl.static_range(len(CELL_SIZES)):  # pyright: ignore
        level_row, here, level_inside = level_rows(
            local,
            cell_row,
            cell_column,
            decode_size(starts[i]),
            decode_size(heights[i]),
            decode_size(widths[i]),
            CELL_SIZES[i],
            RAGGED,
        )
        row = tl.where(here, level_row, row)
        inside = inside | level_inside
        local = local - CELL_SIZES[i] * CELL_SIZES[i]
    return frame, row, inside & (slot < num_slots)


@triton.jit
def token_offsets(frame, row, strides):
    """Element offset of each token within its clip and head."""
    return frame.to(tl.int64) * strides[1] + row.to(tl.int64) * strides[2]


@triton.jit
def load_rows(base, offsets, inside, strides, HEAD_DIM: tl.constexpr, BLOCK_D: tl.constexpr):
    """Rows (block, BLOCK_D) of a tensor (B, T, N, M, D); zeros where there is no token."""
    d = tl.arange(0, BLOCK_D).to(tl.int64)
    pointers = base + offsets[:, None] + d[None, :] * strides[4]
    if HEAD_DIM == BLOCK_D:
        return tl.load(pointers, mask=inside[:, None], other=0.0)
    return tl.load(pointers, mask=inside[:, None] & (d < HEAD_DIM)[None, :], other=0.0)


@triton.jit
def load_placed(
    base,
    position,
    frame,
    row,
    inside,
    strides,
    position_strides,
    HEAD_DIM: tl.constexpr,
    BLOCK_D: tl.constexpr,
    PLACED: tl.constexpr,
):
    """Rows of queries or keys, their positions added and the sum rounded as PyTorch would."""
    rows = load_rows(base, token_offsets(frame, row, strides), inside, strides, HEAD_DIM, BLOCK_D)
    if PLACED:
        offsets = token_offsets(frame, row, position_strides)
        places = load_rows(position, offsets, inside, position_strides, HEAD_DIM, BLOCK_D)
        rows = (rows.to(tl.float32) + places.to(tl.float32)).to(rows.dtype)
    return rows


@triton.jit
def store_rows(
    base, values, offsets, inside, strides, HEAD_DIM: tl.constexpr, BLOCK_D: tl.constexpr
):
    """Write what ``load_rows`` would read."""
    d = tl.arange(0, BLOCK_D).to(tl.int64)
    pointers = base + offsets[:, None] + d[None, :] * strides[4]
    mask = inside[:, None]
    if HEAD_DIM != BLOCK_D:
        mask = mask & (d < HEAD_DIM)[None, :]
    tl.store(pointers, values.to(base.dtype.element_ty), mask=mask)


@triton.jit
def program_place(num_blocks, num_heads, grid_rows, grid_columns):
    """Clip, head (int64 both), cell row, cell column and block of this program.

    Heads run fastest: the heads of a token share cache lines.
    """
    program = tl.program_id(0)
    head = program % num_heads
    program = program // num_heads
    block = program % num_blocks
    program = program // num_blocks
    column = program % grid_columns
    program = program // grid_columns
    clip = (program // grid_rows).to(tl.int64)
    return clip, head.to(tl.int64), program % grid_rows, column, block


def kernel_arguments(x: Tensor, cells: Cells, *, placed: bool) -> dict[str, Any]:
    """The arguments that say where tokens are, for tensors shaped like ``x``.

    Args:
        x: (B, T, N, M, D).
        cells: which tokens attend to each other.
        placed: whether queries and keys have positions to add.
    """
    _, frames, _, heads, dim = x.shape
    rows, columns = cells.grid
    return {
        "num_slots": frames * cells.slots_per_frame,
        "num_frames": frames,
        "num_tokens": cells.num_tokens,
        "num_heads": heads,
        "grid_rows": rows,
        "grid_columns": columns,
        "starts": encode_sizes(level.start for level in cells.levels),
        "heights": encode_sizes(level.height for level in cells.levels),
        "widths": encode_sizes(level.width for level in cells.levels),
        "CELL_SIZES": tuple(level.cell for level in cells.levels),
        "SLOTS_PER_FRAME": cells.slots_per_frame,
        "RAGGED": cells.ragged,
        "HEAD_DIM": dim,
        "BLOCK_D": padded_head(dim),
        "PLACED": placed,
    }


def allocate(shape: torch.Size, dtype: torch.dtype, x: Tensor, cells: Cells) -> Tensor:
    """Uninitialised memory, unless some token is in no cell and has to stay zero."""
    make = torch.empty if cells.complete else torch.zeros
    return make(shape, dtype=dtype, device=x.device)


def launch(
    kernel: Any, like: Tensor, blocks_each: int, *arguments: Any, num_blocks: int, **settings: Any
) -> None:
    """Run the programs of every cell, head and clip, on the device of ``like`` (B, T, N, M, D).

    Args:
        kernel: what to run.
        like: says the numbers of clips and heads.
        blocks_each: the blocks of a cell that one program owns.
        num_blocks: the blocks of a cell.
    """
    programs = triton.cdiv(num_blocks, blocks_each)
    cells = settings["grid_rows"] * settings["grid_columns"]
    grid = (like.shape[0] * cells * programs * like.shape[3],)
    with on_device(like.device):
        kernel[grid](*arguments, num_blocks=num_blocks, **settings)


def strides(*tensors: Tensor) -> tuple[tuple[int, ...], ...]:
    """The strides of each tensor, as the kernels take them."""
    return tuple(x.stride() for x in tensors)


def broadcast(position: Tensor | None, like: Tensor) -> Tensor:
    """A position (T, N, M, D) for every clip, without copies; any tensor stands for none."""
    return like if position is None else position.expand(like.shape)
