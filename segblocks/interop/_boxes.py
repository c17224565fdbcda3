"""Boxes around masks."""

from __future__ import annotations

import numpy as np

from segblocks.ops.rle import RLE, decode


def bounding_box(rle: RLE) -> tuple[int, int, int, int]:
    """Return (x, y, width, height) of the pixels of a mask, which has at least one."""
    mask = decode(rle)
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    left, top = int(columns[0]), int(rows[0])
    return left, top, int(columns[-1]) + 1 - left, int(rows[-1]) + 1 - top
