"""Sizes of tiles, and sizes as kernel arguments for which Triton does not compile anew."""

from __future__ import annotations

from collections.abc import Iterable

import triton

# The interpreter wants the language in the module of each function.
import triton.language as tl  # noqa: F401

# Tensor cores want at least 16 rows, and so does tl.dot.
MIN_BLOCK = 16


def padded_head(dim: int) -> int:
    """Channels of a tile for heads of ``dim`` channels."""
    return max(MIN_BLOCK, triton.next_power_of_2(dim))


def encode_sizes(sizes: Iterable[int]) -> tuple[int, ...]:
    """Sizes as one tuple of scalars, which a kernel takes without device memory.

    Triton compiles anew for an integer that is 1 or divisible by 16, in a tuple unconditionally.
    Odd codes above 1 are neither, so that one compilation serves every resolution.
    """
    return tuple(2 * size + 3 for size in sizes)


@triton.jit
def decode_size(code):
    """The size that ``encode_sizes`` encoded."""
    return code // 2 - 1
