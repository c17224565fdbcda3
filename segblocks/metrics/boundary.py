"""How well the contours of two masks agree."""

from __future__ import annotations

import math

import numpy as np
import scipy  # its parts are imported when they are used
from numpy.typing import NDArray

#: DAVIS: how far apart contours may be, as a part of the image's diagonal.
TOLERANCE = 0.008


def contour(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the pixels of a mask's contour.

    A pixel belongs to it where it differs from its right, its lower or its lower right neighbour;
    neighbours outside the image do not differ. So the contour lies half a pixel up and left of
    the true one, as in DAVIS' tool.

    Args:
        mask: (H, W).

    Returns:
        (P, 2), row and column.

    Example:
        >>> contour(np.array([[0, 0, 0], [0, 1, 0], [0, 0, 0]], dtype=bool)).tolist()
        [[0, 0], [0, 1], [1, 0], [1, 1]]
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return np.zeros((0, 2), dtype=np.int64)
    # Away from the mask nothing differs, so that its surroundings of one pixel are enough.
    top, left = max(int(rows[0]) - 1, 0), max(int(columns[0]) - 1, 0)
    part = mask[top : int(rows[-1]) + 2, left : int(columns[-1]) + 2]
    edge = np.zeros_like(part)
    edge[:, :-1] |= part[:, :-1] != part[:, 1:]
    edge[:-1] |= part[:-1] != part[1:]
    edge[:-1, :-1] |= part[:-1, :-1] != part[1:, 1:]
    return np.argwhere(edge) + np.array([top, left])


def boundary_f(
    mask: NDArray[np.bool_], truth: NDArray[np.bool_], *, tolerance: float = TOLERANCE
) -> float:
    r"""Return the contour accuracy F of a mask.

    Perazzi et al., A Benchmark Dataset and Evaluation Methodology for Video Object Segmentation
    (CVPR 2016), section 3.1: the precision is the part of the predicted contour within a distance
    of the annotated one, the recall the reverse, and F their harmonic mean. The distance is
    ``tolerance`` times the diagonal, rounded up to whole pixels, which is what a dilation by a disk
    of that radius finds.

    Args:
        mask: (H, W).
        truth: (H, W).
        tolerance: a part of the diagonal.

    Returns:
        0 to 1; 1 where neither has a contour.
    """
    radius = math.ceil(tolerance * math.hypot(*mask.shape))
    found, wanted = contour(mask), contour(truth)
    if not len(found) or not len(wanted):
        return float(len(found) == len(wanted))
    precision, recall = _near(found, wanted, radius), _near(wanted, found, radius)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _near(points: NDArray[np.int64], others: NDArray[np.int64], radius: int) -> float:
    """The part of the points that have another within the radius, which counts as within."""
    # Squared distances are whole numbers, so that half of one is a safe margin.
    reach = math.sqrt(radius**2 + 0.5)
    distances, _ = scipy.spatial.KDTree(others).query(points, distance_upper_bound=reach)
    return float(np.mean(np.isfinite(distances)))
