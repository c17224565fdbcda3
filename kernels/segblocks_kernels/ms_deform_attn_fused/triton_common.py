"""What the Triton kernels of fused deformable attention share: queries, positions, softmax."""

# Triton's launch syntax, static_range and indexing are beyond the type checker.
# pyright: reportCallIssue=false, reportGeneralTypeIssues=false, reportArgumentType=false, reportOperatorIssue=false

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

from .._triton_sizes import decode_size
from .._tuning import Config, LaunchKey, launch_config
from ..ms_deform_attn.triton_common import clamp
from .reference import computation_dtype


@triton.jit
def tile_of_pixels(i_tile, shapes, L: tl.constexpr, TH: tl.constexpr, TW: tl.constexpr):
    """A tile of a level, tiles being numbered level by level, row by row.

    Returns the token, row and column of each pixel and whether it is on the level; and the height
    and width of the level.
    """
    first_tile = 0
    first_token = 0
    tile = i_tile
    token = 0
    own_height = 1
    own_width = 1
    for level in tl.static_range(L):
        height = decode_size(shapes[2 * level])
        width = decode_size(shapes[2 * level + 1])
        # The last level that begins here or before; empty ones begin where the next does.
        begun = i_tile >= first_tile
        tile = tl.where(begun, i_tile - first_tile, tile)
        token = tl.where(begun, first_token, token)
        own_height = tl.where(begun, height, own_height)
        own_width = tl.where(begun, width, own_width)
        first_tile += tl.cdiv(height, TH) * tl.cdiv(width, TW)
        first_token += height * width
    across = tl.cdiv(own_width, TW)
    inside = tl.arange(0, TH * TW)
    row = tile // across * TH + inside // TW
    column = tile % across * TW + inside % TW
    on_level = (row < own_height) & (column < own_width)
    return token + row * own_width + column, row, column, on_level, own_height, own_width


@triton.jit
def own_anchor(pixel, own_size, size, ACC: tl.constexpr):
    """Where the centre of a pixel of one level lies on another: whole pixel and fraction."""
    # (pixel + 1/2) size / own_size - 1/2 in whole numbers, one higher so that none is negative.
    steps = 2 * own_size
    position = (2 * pixel + 1) * size + own_size
    return (position // steps - 1).to(ACC), (position % steps).to(ACC) / steps


@triton.jit
def given_anchor(p_points, m_query, size, ACC: tl.constexpr):
    """A reference point in pixels: whole pixel and fraction."""
    point = tl.load(p_points, mask=m_query, other=0.0).to(ACC)
    point = clamp(point, -4096.0, 4096.0)
    # The first twelve digits times the size are exact in float32 for levels up to 4096 pixels, and
    # what the others bring is small.
    coarse = tl.floor(point * 4096.0) / 4096.0
    pixels = coarse * size - 0.5
    whole = tl.floor(pixels)
    return whole, (pixels - whole) + (point - coarse) * size


@triton.jit
def anchors(
    p_points,
    row,
    column,
    m_query,
    own_height,
    own_width,
    height,
    width,
    axis_stride,
    SELF: tl.constexpr,
    ACC: tl.constexpr,
):
    """Whole pixel and fraction of each query's start on a level, for x and for y."""
    if SELF:
        x_whole, x_part = own_anchor(column, own_width, width, ACC)
        y_whole, y_part = own_anchor(row, own_height, height, ACC)
    else:
        x_whole, x_part = given_anchor(p_points, m_query, width, ACC)
        y_whole, y_part = given_anchor(p_points + axis_stride, m_query, height, ACC)
    return x_whole, x_part, y_whole, y_part


@triton.jit
def locate(x_whole, x_part, y_whole, y_part, x_offset, y_offset, height, width, undefined):
    """The pixel (column, row) above left of each sample, and the way from there.

    Outside the level the pixel is at most two away from it. A sample at NaN has the pixel
    ``undefined``: on the level its weights, which are NaN, reach the sum, and outside nothing is
    scattered. A level without pixels has nothing to sample, not even at NaN.
    """
    # Beyond 2^22 pixels float32 has no fractions left.
    x = x_part + clamp(x_offset, -4194304.0, 4194304.0)
    y = y_part + clamp(y_offset, -4194304.0, 4194304.0)
    right_part = x - tl.floor(x)
    lower_part = y - tl.floor(y)
    left = clamp(x_whole + tl.floor(x), -2.0, width + 1.0)
    top = clamp(y_whole + tl.floor(y), -2.0, height + 1.0)
    defined = left + top == left + top
    left = tl.where(defined, left, undefined)
    top = tl.where(defined, top, undefined)
    empty = height * width == 0
    return (
        tl.where(empty, -2.0, left),
        tl.where(empty, -2.0, top),
        tl.where(empty, 0.0, right_part),
        tl.where(empty, 0.0, lower_part),
    )


@triton.jit
def softmax(p_logits, o_first, m_query, LP: tl.constexpr, S: tl.constexpr, ACC: tl.constexpr):
    """The weights of each query's ``LP`` samples [BQ, S].

    And what makes a weight of a logit: the maximum, and 1 / sum of exponentials; both [BQ].
    """
    o_s = tl.arange(0, S)
    m_s = (o_s < LP)[None, :]
    p_block = p_logits + o_first[:, None] + o_s[None, :]
    b_logits = tl.load(p_block, mask=m_query[:, None] & m_s, other=0.0).to(ACC)  # [BQ, S]
    b_logits = tl.where(m_s, b_logits, float("-inf"))
    peak = tl.max(b_logits, axis=1)
    b_weights = tl.exp(b_logits - peak[:, None])
    scale = 1.0 / tl.sum(b_weights, axis=1)
    return b_weights * scale[:, None], peak, scale


@dataclass(frozen=True)
class Launch:
    """Sizes and compile-time choices of one launch.

    Args:
        batch, queries, heads, dim, levels, points: the sizes of the operation.
        maps: (height, width) of what is cut into tiles of queries: the levels where the queries
            are the tokens, else one row of queries.
        of_tokens: whether the queries are the tokens.
        block_d: channels of a program, the power of two above ``dim``.
        block_s: samples of a query, the power of two above ``levels * points``.
        wide: whether an offset inside one batch element, or twice the product of two sides, can
            pass 2^31.
        accumulator: the type of coordinates and sums.
    """

    batch: int
    queries: int
    heads: int
    dim: int
    levels: int
    points: int
    maps: Sequence[tuple[int, int]]
    of_tokens: bool
    block_d: int
    block_s: int
    wide: bool
    accumulator: torch.dtype

    def tiles(self, config: Config) -> int:
        """Programs of a head."""
        return sum(
            triton.cdiv(h, config["TH"]) * triton.cdiv(w, config["TW"]) for h, w in self.maps
        )

    def grid(self, config: Config) -> tuple[int]:
        """One program for each head and tile of queries; the tiles of a head follow each other."""
        return (self.batch * self.heads * self.tiles(config),)

    @property
    def constants(self) -> dict[str, object]:
        """The arguments that both kernels are compiled for, beside the configuration."""
        return {
            "SELF": self.of_tokens,
            "D": self.dim,
            "L": self.levels,
            "P": self.points,
            "S": self.block_s,
            "BD": self.block_d,
            "WIDE": self.wide,
            "ACC": tl.float64 if self.accumulator == torch.float64 else tl.float32,
        }


def plan(
    value: Tensor,
    spatial_shapes: Sequence[tuple[int, int]],
    reference_points: Tensor | None,
    offsets: Tensor,
    logits: Tensor,
) -> Launch:
    """Find the sizes of the launch from shapes and types."""
    batch, tokens, heads, dim = value.shape
    _, queries, _, levels, points, _ = offsets.shape
    largest = max(
        tokens * heads * dim, queries * heads * dim, 2 * queries * heads * levels * points
    )
    of_tokens = reference_points is None
    return Launch(
        batch=batch,
        queries=queries,
        heads=heads,
        dim=dim,
        levels=levels,
        points=points,
        maps=spatial_shapes if of_tokens else [(1, queries)],
        of_tokens=of_tokens,
        block_d=triton.next_power_of_2(max(1, dim)),
        block_s=triton.next_power_of_2(max(1, levels * points)),
        wide=largest >= 2**31 or max(max(shape) for shape in spatial_shapes) >= 2**14,
        accumulator=computation_dtype(value, reference_points, offsets, logits),
    )


def candidates(sizes: Launch) -> list[Config]:
    """Tiles as square as powers of two can be for tokens, rows for points; warps for each."""
    numbers, warps = ((1024, 2048, 4096), (2, 4, 8))
    if not sizes.of_tokens:
        numbers, warps = ((256, 512, 1024), (1, 2, 4))
    tiles = set()
    for queries in (max(1, number // sizes.block_d) for number in numbers):
        rows = 2 ** ((queries.bit_length() - 1) // 2) if sizes.of_tokens else 1
        tiles.add((rows, queries // rows))
    return [{"TH": h, "TW": w, "num_warps": count} for h, w in sorted(tiles) for count in warps]


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
    name = f"ms_deform_attn_fused.{kernel}_{'tokens' if sizes.of_tokens else 'points'}"
    run(launch_config(name, key, choices, run))
