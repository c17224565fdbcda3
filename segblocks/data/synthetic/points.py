"""Points well inside what is visible of a thing."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt


def inner_point(mask: NDArray[np.bool_], rng: np.random.Generator) -> tuple[float, float]:
    """Draw a pixel of a mask, at least half as deep inside it as its deepest one.

    Args:
        mask: (H, W) bool, not empty. The frame's border does not count as the mask's.
        rng: draws it.

    Returns:
        (x, y), (0, 0) being the centre of the top-left pixel.

    Raises:
        ValueError: the mask is empty.

    Example:
        >>> mask = np.zeros((9, 9), bool)
        >>> mask[2:7, 4] = True
        >>> inner_point(mask, np.random.default_rng(0))[0]
        4.0
    """
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        raise ValueError("inner_point: mask must hold at least one pixel, got an empty one")
    top, left = max(rows[0] - 1, 0), max(columns[0] - 1, 0)
    part = mask[top : rows[-1] + 2, left : columns[-1] + 2]
    depth = np.ones(part.shape) if part.all() else np.asarray(distance_transform_edt(part))
    ys, xs = np.nonzero(depth >= depth.max() / 2)
    pick = int(rng.integers(len(ys)))
    return float(xs[pick] + left), float(ys[pick] + top)
