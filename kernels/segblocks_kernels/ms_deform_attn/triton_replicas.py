"""Copies of the sums of coarse levels, so that fewer programs add to the same address.

Every query samples every level, so that a pixel of a coarse level gets many times the shares of
one of a fine level. Programs in a row add to different copies, which are summed in a fixed order
afterwards. Fine levels have one copy.
"""

# Triton's launch syntax, static_range and indexing are beyond the type checker.
# pyright: reportCallIssue=false, reportGeneralTypeIssues=false, reportArgumentType=false

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

from .._device import on_device
from .._triton_sizes import decode_size, encode_sizes
from .._tuning import Config

# A copy is zeroed and read once, the price of two shares: with 32 for each pixel it is a sixteenth.
MIN_SHARES = 32
MAX_BYTES = 2**21
# What tuning tries: none, and a few.
LIMITS = (1, 4)


def count_copies(
    spatial_shapes: Sequence[tuple[int, int]], samples: int, row_bytes: int, limit: int
) -> tuple[int, ...]:
    """Copies of each level: at most ``limit``, 2 MiB a head, and one for 32 shares of a pixel.

    Args:
        spatial_shapes: as in ``ms_deform_attn``.
        samples: of a head in one level of one batch element; each adds to four pixels.
        row_bytes: of the sums of one pixel of a head.
        limit: ``R`` of the launch configuration; 1 for no copies.
    """
    counts = []
    for height, width in spatial_shapes:
        pixels = height * width
        shares = 4 * samples // pixels if pixels else 0
        room = MAX_BYTES // max(1, pixels * row_bytes)
        counts.append(max(1, min(limit, shares // MIN_SHARES, room)))
    return tuple(counts)


def with_limits(candidates: Sequence[Config]) -> list[Config]:
    """Each candidate with and without copies; those of the fewest warps make room for that."""
    fewest = min(config["num_warps"] for config in candidates)
    kept = [config for config in candidates if config["num_warps"] > fewest]
    return [config | {"R": limit} for config in kept for limit in LIMITS]


@triton.jit
def copy_of_level(p_sums, copy, copies, first, start, pixels, pitch):
    """Where a program adds, as if the level began at the token ``start`` there.

    Args:
        p_sums: the sums of a batch element, which are copy 0.
        copies: tokens from there to the other copies of that element, a 64-bit integer.
        first: the token of those at which the ones of this level begin.
    """
    shift = copies + (first - start + (copy - 1) * pixels)
    return p_sums + tl.where(copy == 0, 0, shift) * pitch


@triton.jit(do_not_specialize=["N", "E"])
def _fold_kernel(
    p_sums,
    p_copies,
    p_out,
    shapes,
    counts,
    N,
    E,
    pitch,
    L: tl.constexpr,
    R: tl.constexpr,
    BN: tl.constexpr,
    BC: tl.constexpr,
    IN_PLACE: tl.constexpr,
):
    tiles = tl.cdiv(N, BN)
    i_b = (tl.program_id(0) // tiles).to(tl.int64)
    o_n = tl.program_id(0) % tiles * BN + tl.arange(0, BN)
    count = tl.full([BN], 1, tl.int32)
    step = tl.zeros([BN], tl.int32)
    o_copy = tl.zeros([BN], tl.int32)
    start = 0
    first = 0
    for level in tl.static_range(L):
        pixels = decode_size(shapes[2 * level]) * decode_size(shapes[2 * level + 1])
        own_count = decode_size(counts[level])
        here = (o_n >= start) & (o_n < start + pixels)
        count = tl.where(here, own_count, count)
        step = tl.where(here, pixels, step)
        o_copy = tl.where(here, first + o_n - start, o_copy)
        start += pixels
        first += (own_count - 1) * pixels
    o_c = tl.arange(0, BC)[None, :]
    m_c = o_c < pitch
    m_n = o_n < N
    if IN_PLACE:
        m_n &= count > 1
    o_row = (i_b * N + o_n)[:, None] * pitch + o_c
    m_row = m_n[:, None] & m_c
    total = tl.load(p_sums + o_row, mask=m_row, other=0.0)  # [BN, BC]
    for copy in range(1, R):
        p_row = p_copies + (i_b * E + o_copy)[:, None] * pitch + o_c
        total += tl.load(p_row, mask=(m_n & (copy < count))[:, None] & m_c, other=0.0)
        o_copy += step
    tl.store(p_out + o_row, total.to(p_out.dtype.element_ty), mask=m_row)


@dataclass(frozen=True)
class Sums:
    """Where programs add up the gradient of the value.

    Args:
        shapes: (height, width) of each level.
        counts: copies of each level.
        limit: ``R`` of the kernels: 1 where no level has copies.
        dtype: of the gradient.
        total: (B, N, M, D), the first copy of all levels; None where nobody asks for the gradient.
        copies: (B, E, M, D), the other copies, level by level, which follow ``total`` in memory;
            None where there are none.
    """

    shapes: Sequence[tuple[int, int]]
    counts: tuple[int, ...]
    limit: int
    dtype: torch.dtype
    total: Tensor | None
    copies: Tensor | None

    @classmethod
    def zeros(
        cls,
        value: Tensor | None,
        spatial_shapes: Sequence[tuple[int, int]],
        samples: int,
        dtype: torch.dtype,
        limit: int,
    ) -> Sums:
        """Sums of zeros in ``dtype`` for the gradient of ``value``, copies by ``count_copies``."""
        single = (1,) * len(spatial_shapes)
        if value is None:
            return cls(spatial_shapes, single, 1, dtype, None, None)
        batch, tokens, heads, dim = value.shape
        counts = count_copies(spatial_shapes, samples, dim * dtype.itemsize, limit)
        extra = sum(
            (count - 1) * h * w for count, (h, w) in zip(counts, spatial_shapes, strict=True)
        )
        rows = value.new_zeros((batch * (tokens + extra), heads, dim), dtype=dtype)
        total = rows[: batch * tokens].view(value.shape)
        if extra == 0 or rows.numel() == 0:
            return cls(spatial_shapes, single, 1, value.dtype, total, None)
        copies = rows[batch * tokens :].view(batch, extra, heads, dim)
        return cls(spatial_shapes, counts, limit, value.dtype, total, copies)

    @property
    def extra(self) -> int:
        """Tokens of ``copies``, E."""
        return 0 if self.copies is None else self.copies.shape[1]

    def fold(self) -> Tensor | None:
        """The gradient: the sum of all copies."""
        if self.total is None or self.copies is None:
            return None if self.total is None else self.total.to(self.dtype)
        batch, tokens, heads, dim = self.total.shape
        in_place = self.total.dtype == self.dtype
        out = self.total if in_place else self.total.new_empty(self.total.shape, dtype=self.dtype)
        block_c = triton.next_power_of_2(heads * dim)
        # 16 numbers for each thread of four warps.
        block_n = max(1, 2048 // block_c)
        with on_device(out.device):
            _fold_kernel[(batch * triton.cdiv(tokens, block_n),)](
                self.total,
                self.copies,
                out,
                encode_sizes(size for shape in self.shapes for size in shape),
                encode_sizes(self.counts),
                tokens,
                self.extra,
                heads * dim,
                L=len(self.shapes),
                R=self.limit,
                BN=block_n,
                BC=block_c,
                IN_PLACE=in_place,
            )
        return out
