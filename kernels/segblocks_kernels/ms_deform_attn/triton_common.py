"""What the Triton kernels of deformable attention share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

from .._tuning import Config, LaunchKey, launch_config
from .reference import compute_dtype


@triton.jit
def sample_position(p_locations, o_sample, m_sample, height, width, ACC: tl.constexpr):
    """Pixel coordinates (x, y) of samples, clamped to two pixels outside the level; NaN stays."""
    x = tl.load(p_locations + 2 * o_sample, mask=m_sample, other=0.0).to(ACC) * width - 0.5
    y = tl.load(p_locations + 2 * o_sample + 1, mask=m_sample, other=0.0).to(ACC) * height - 0.5
    # Keeps the conversion to integers defined for any input; two pixels outside is all the same.
    x = clamp(x, -2.0, width + 1.0)
    y = clamp(y, -2.0, height + 1.0)
    # Nothing to sample, not even at NaN.
    empty = height * width == 0
    return tl.where(empty, -2.0, x), tl.where(empty, -2.0, y)


@triton.jit
def clamp(x, low, high):
    """Clamp to [low, high], which leaves NaN, unlike the minimum and the maximum."""
    x = tl.where(x < low, low, x)
    return tl.where(x > high, high, x)


@triton.jit
def pixel_above(x, y, undefined):
    """Column and row of the pixel centre left of and above each sample.

    Both are ``undefined`` where a coordinate is NaN: on the level its weights, which are NaN, reach
    the sum, and outside it nothing is scattered.
    """
    defined = x + y == x + y
    return tl.where(defined, tl.floor(x), undefined), tl.where(defined, tl.floor(y), undefined)


@triton.jit
def is_inside(row, column, height, width, m_query):
    """Whether a corner is a pixel of the level."""
    return m_query & (row >= 0) & (row < height) & (column >= 0) & (column < width)


@triton.jit
def token_offset(row, column, width, start, pitch, WIDE: tl.constexpr):
    """Offset of a pixel's channels from the first token's."""
    token = start + row * width + column
    if WIDE:
        token = token.to(tl.int64)
    return token * pitch


@dataclass(frozen=True)
class Launch:
    """Sizes and compile-time choices of one launch.

    Args:
        batch, queries, heads, dim, levels, points: the sizes of the operation.
        block_d: channels of a program, the power of two above ``dim``.
        wide: whether an offset inside one batch element can pass 2^31.
        accumulator: the type of coordinates and sums.
    """

    batch: int
    queries: int
    heads: int
    dim: int
    levels: int
    points: int
    block_d: int
    wide: bool
    accumulator: torch.dtype

    def grid(self, block_q: int) -> tuple[int]:
        """One program for each head and block of ``block_q`` queries."""
        return (self.batch * self.heads * triton.cdiv(self.queries, block_q),)

    @property
    def triton_accumulator(self) -> tl.dtype:
        """``accumulator`` in Triton's words."""
        return tl.float64 if self.accumulator == torch.float64 else tl.float32


def plan(value: Tensor, sampling_locations: Tensor) -> Launch:
    """Choose the launch from shapes and types."""
    batch, tokens, heads, dim = value.shape
    _, queries, _, levels, points, _ = sampling_locations.shape
    largest = max(
        tokens * heads * dim, queries * heads * dim, 2 * queries * heads * levels * points
    )
    block_d = triton.next_power_of_2(max(1, dim))
    return Launch(
        batch=batch,
        queries=queries,
        heads=heads,
        dim=dim,
        levels=levels,
        points=points,
        block_d=block_d,
        wide=largest >= 2**31,
        accumulator=compute_dtype(value, sampling_locations),
    )


def candidates(sizes: Launch) -> list[Config]:
    """Programs of 256 to 1024 numbers, and one to four warps."""
    blocks = sorted({max(1, numbers // sizes.block_d) for numbers in (256, 512, 1024)})
    return [{"BQ": block, "num_warps": warps} for block in blocks for warps in (1, 2, 4)]


def run_tuned(
    kernel: str,
    value: Tensor,
    sizes: Launch,
    choices: Sequence[Config],
    run: Callable[[Config], object],
) -> None:
    """Run a kernel with the configuration for these tensors; the work is the number of samples."""
    samples = sizes.batch * sizes.queries * sizes.heads * sizes.levels * sizes.points
    key = LaunchKey.of(value, head_dim=sizes.dim, work=samples)
    run(launch_config(f"ms_deform_attn.{kernel}", key, choices, run))
