"""The colours that benchmarks give to ids."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray


@cache
def davis_palette() -> NDArray[np.uint8]:
    """Return the 256 colours of PASCAL VOC and DAVIS, number 0 being black.

    The bits of an id, three at a time from the lowest, become the bits of red, green and blue from
    the highest, so that neighbouring ids differ strongly.

    Returns:
        uint8 array (256, 3).

    Example:
        >>> davis_palette()[:3].tolist()
        [[0, 0, 0], [128, 0, 0], [0, 128, 0]]
    """
    ids = np.arange(256)[:, None]
    channels = np.arange(3)
    palette = np.zeros((256, 3), np.int64)
    for step in range(8):
        palette |= ((ids >> (3 * step + channels)) & 1) << (7 - step)
    palette = palette.astype(np.uint8)
    palette.setflags(write=False)
    return palette
