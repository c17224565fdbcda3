"""A colour for every id, the same in every frame, picture and report."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from segblocks.ops.palette import davis_palette


def id_colors(ids: NDArray[np.integer]) -> NDArray[np.uint8]:
    """Give every id a colour: its palette entry, the 255 colours repeating for higher ids.

    Args:
        ids: non-negative integers of any shape; 0 is black.

    Returns:
        uint8 array (..., 3).
    """
    values = np.asarray(ids)
    return davis_palette()[np.where(values > 0, (values - 1) % 255 + 1, 0)]


def id_color(number: int) -> tuple[int, int, int]:
    """The colour of one id, as Pillow takes it.

    Example:
        >>> id_color(1)
        (128, 0, 0)
    """
    red, green, blue = id_colors(np.array(number)).tolist()
    return red, green, blue
