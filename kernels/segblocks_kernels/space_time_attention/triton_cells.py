"""What the Triton kernels share: the token behind a slot of a cell, and launch arithmetic."""

from __future__ import annotations

import contextlib
from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from .._backend import interpreter_on
from .._triton_sizes import decode_size, encode_sizes
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
# The interpreter keeps bfloat16 as raw bits and would multiply those.
INTERPRETED = tl.constexpr(interpreter_on())


@triton.jit
def product(a, b):
    """Matrix product in float32, exact for float32 operands as well (no TF32)."""
    if INTERPRETED:
        return tl.dot(a.to(tl.float32), b.to(tl.float32))
    return tl.dot(a, b, input_precision="ieee")


@triton.jit
def add_product(total, a, b):
    """``total`` plus the product, in one accumulator."""
    if INTERPRETED:
        return tl.dot(a.to(tl.float32), b.to(tl.float32), acc=total)
    return tl.dot(a, b, acc=total, input_precision="ieee")


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
    d = tl.arange(0, BLOCK_D)
    pointers = base + offsets[:, None] + d[None, :] * strides[4]
    if HEAD_DIM == BLOCK_D:
        return tl.load(pointers, mask=inside[:, None], other=0.0)
    return tl.load(pointers, mask=inside[:, None] & (d < HEAD_DIM)[None, :], other=0.0)


@triton.jit
def store_rows(
    base, values, offsets, inside, strides, HEAD_DIM: tl.constexpr, BLOCK_D: tl.constexpr
):
    """Write what ``load_rows`` would read."""
    d = tl.arange(0, BLOCK_D)
    pointers = base + offsets[:, None] + d[None, :] * strides[4]
    mask = inside[:, None]
    if HEAD_DIM != BLOCK_D:
        mask = mask & (d < HEAD_DIM)[None, :]
    tl.store(pointers, values.to(base.dtype.element_ty), mask=mask)


@triton.jit
def program_place(num_blocks, num_heads, grid_rows, grid_columns):
    """Clip (int64), head, cell row, cell column and block of this program.

    Heads run fastest: the heads of a token share cache lines.
    """
    program = tl.program_id(0)
    head = program % num_heads
    program = program // num_heads
    block = program % num_blocks
    program = program // num_blocks
    column = program % grid_columns
    program = program // grid_columns
    return (program // grid_rows).to(tl.int64), head, program % grid_rows, column, block


class Tile(NamedTuple):
    """Rows that a program owns, rows that it visits at a time, and its warps."""

    own: int
    visit: int
    num_warps: int = 4


# Tensor cores want at least 16 rows, and so does tl.dot.
MIN_BLOCK = 16
NUM_STAGES = 2
# By element size and padded head size. Found by compiling for sm_90 and reading the register and
# spill counts: float32 products run on the scalar units, which keep whole tiles in registers.
_HALF_FORWARD = {32: Tile(128, 64, 8), 64: Tile(128, 64, 8), 128: Tile(64, 32), 256: Tile(64, 32)}
_HALF_BACKWARD = {32: Tile(64, 64), 64: Tile(64, 64), 128: Tile(64, 32), 256: Tile(32, 32)}
_FLOAT_FORWARD = {32: Tile(64, 32), 64: Tile(32, 32), 128: Tile(16, 16), 256: Tile(16, 16)}
_FLOAT_BACKWARD = {32: Tile(32, 16), 64: Tile(32, 16), 128: Tile(16, 16), 256: Tile(16, 16)}


def choose_tile(num_slots: int, block_d: int, dtype: torch.dtype, *, backward: bool) -> Tile:
    """Tile sizes that fit the registers and the shared memory of sm_80 and newer."""
    if dtype == torch.float32:
        tiles = _FLOAT_BACKWARD if backward else _FLOAT_FORWARD
    else:
        tiles = _HALF_BACKWARD if backward else _HALF_FORWARD
    tile = tiles[max(block_d, 32)]
    fitting = max(MIN_BLOCK, triton.next_power_of_2(num_slots))
    if fitting >= tile.own:
        return tile
    return Tile(fitting, min(tile.visit, fitting))


def kernel_arguments(x: Tensor, cells: Cells) -> dict[str, Any]:
    """The arguments that say where tokens are, for tensors shaped like ``x``."""
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
        "BLOCK_D": max(MIN_BLOCK, triton.next_power_of_2(dim)),
    }


def allocate(shape: torch.Size, dtype: torch.dtype, x: Tensor, cells: Cells) -> Tensor:
    """Uninitialised memory, unless some token is in no cell and has to stay zero."""
    make = torch.empty if cells.complete else torch.zeros
    return make(shape, dtype=dtype, device=x.device)


def launch(kernel: Any, like: Tensor, num_blocks: int, *arguments: Any, **settings: Any) -> None:
    """Run one program a block, cell, head and clip, on the device of ``like`` (B, T, N, M, D).

    Triton launches on the current device, which need not be that of the tensors.
    """
    cells = settings["grid_rows"] * settings["grid_columns"]
    grid = (like.shape[0] * cells * num_blocks * like.shape[3],)
    with torch.cuda.device_of(like) if like.is_cuda else contextlib.nullcontext():
        kernel[grid](*arguments, num_blocks=num_blocks, num_stages=NUM_STAGES, **settings)


def strides(*tensors: Tensor) -> tuple[tuple[int, ...], ...]:
    """The strides of each tensor, as the kernels take them."""
    return tuple(x.stride() for x in tensors)
