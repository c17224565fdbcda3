"""The contours of masks: all at once on their device, or traced one by one."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import scipy  # its parts are imported when they are used
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from segblocks._optional import require

#: Parts of a mask with fewer pixels are specks: left out where the mask has a larger part.
SPECK_AREA = 4


class Contours(NamedTuple):
    """Points on the contours of masks, in pixels, (0, 0) the outer corner of the top-left one.

    Args:
        points: (P, 2) float64 as (x, y).
        weights: (P,) float64, the length of contour that a point stands for.
        owners: (P,) int64, the mask of each point.
    """

    points: Tensor
    weights: Tensor
    owners: Tensor


def drop_specks(masks: Tensor) -> Tensor:
    """Remove the parts of fewer than four pixels from masks that have larger parts.

    Parts hang together by the sides of pixels. A part has at least four pixels if and only if each
    of its pixels is, or is next to, one with three neighbours, or one with two of which one has two
    itself; so nothing has to be traced or labelled.

    Args:
        masks: (N, h, w) bool.

    Returns:
        (N, h, w) bool.

    Example:
        >>> mask = torch.tensor([[[1, 1, 0, 1], [1, 1, 0, 0]]]).bool()
        >>> drop_specks(mask).int().tolist()
        [[[1, 1, 0, 0], [1, 1, 0, 0]]]
    """
    # A view of the bytes has no like in ONNX, and onnxruntime chooses between no booleans (below).
    left, right, above, below = _neighbours(masks.to(torch.uint8))
    degree = left + right + above + below
    linked = masks & (degree >= 2)
    core = masks & (degree >= 3) | linked & _any_neighbour(linked)
    kept = core | masks & _any_neighbour(core)
    return kept | masks & ~kept.flatten(1).any(1)[:, None, None]


def mark_contours(masks: Tensor) -> Contours:
    """Find the contours of all masks at once, without following them.

    They run between the centres of neighbouring pixels of which one belongs to the mask, with
    corners cut (marching squares at 1/2). Each of the four-pixel squares that they cross holds a
    piece of length 1 or sqrt(1/2), or two of the latter, and gives its middle. Holes have contours
    as well, and a mask that the frame cuts has one along the border.

    The host waits once for the device, to learn how many pieces there are.

    Args:
        masks: (N, h, w) bool.

    Returns:
        The pieces, in no order along the contour.

    Example:
        >>> mask = torch.tensor([[[0, 1, 1], [0, 1, 1]]]).bool()
        >>> round(float(mark_contours(mask).weights.sum()), 4)  # four sides, four cut corners
        6.8284
    """
    padded = F.pad(masks, (1, 1, 1, 1))
    corners = (padded[:, :-1, :-1], padded[:, :-1, 1:], padded[:, 1:, :-1], padded[:, 1:, 1:])
    one, two, three, four = corners
    mixed = (one ^ two) | (one ^ three) | (one ^ four)
    owners, y, x = mixed.nonzero().unbind(1)
    top_left, top_right, low_left, low_right = (c[owners, y, x].double() for c in corners)
    total = top_left + top_right + low_left + low_right
    right = top_right + low_right - top_left - low_left
    down = low_left + low_right - top_left - top_right
    saddle = (total == 2) & (right == 0) & (down == 0)
    # A lone corner, set or missing, is cut off; so is each of the two set corners of a saddle.
    toward = torch.where(total == 3, -0.25, 0.25)
    straight = (total == 2) & ~saddle
    shift = torch.stack((right, down), dim=1) * toward[:, None]
    sideways = torch.where(top_left > 0, -0.25, 0.25).to(right)
    across = torch.stack((sideways, torch.full_like(right, -0.25)), dim=1)
    shift = torch.where(straight[:, None], 0.0, torch.where(saddle[:, None], across, shift))
    vertex = torch.stack((x, y), dim=1).double()
    length = torch.full_like(total, math.sqrt(0.5)).masked_fill(straight, 1)
    return Contours(
        torch.cat((vertex + shift, vertex - shift)),
        torch.cat((length, length * saddle)),
        torch.cat((owners, owners)),
    )


def trace_contour(
    mask: NDArray[np.bool_], num_points: int, *, holes: bool = True
) -> NDArray[np.float64]:
    """Follow the contours of one mask, and take points at equal distances along them.

    The lines are those of :func:`mark_contours`. Several share the points by their lengths, and
    the first point of each is its topmost one, the leftmost of these.

    Args:
        mask: (h, w).
        num_points: M.
        holes: whether the contours of holes count.

    Returns:
        (M, 2) as (x, y), (0, 0) being the outer corner of the top-left pixel; (0, 2) for an empty
        mask.

    Raises:
        ImportError: scikit-image, of the extra ``contours``, is not installed.

    Example:
        >>> trace_contour(np.ones((8, 8), bool), 4).round(3).tolist()
        [[0.5, 0.0], [8.0, 0.5], [7.5, 8.0], [0.0, 7.5]]
    """
    find_contours = require("skimage.measure", "contours").find_contours
    lines = []
    # A line ends where it began, on the empty rim, whatever the frame cuts off.
    for line in find_contours(np.pad(_without_specks(mask), 1).astype(np.float64), 0.5):
        xy = line[:, ::-1] - 0.5
        if holes or _winds_outside(xy):
            lines.append(xy)
    if not lines:
        return np.zeros((0, 2))
    lengths = [float(np.hypot(*np.diff(line, axis=0).T).sum()) for line in lines]
    shares = _share(num_points, lengths)
    return np.concatenate([_spread(line, n) for line, n in zip(lines, shares, strict=True)])


def _neighbours(values: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The values (N, h, w) to the left, right, above and below, zero beyond the border."""
    padded = F.pad(values, (1, 1, 1, 1))
    middle = slice(1, -1)
    return (
        padded[:, middle, :-2],
        padded[:, middle, 2:],
        padded[:, :-2, middle],
        padded[:, 2:, middle],
    )


def _any_neighbour(values: Tensor) -> Tensor:
    left, right, above, below = _neighbours(values)
    return left | right | above | below


def _without_specks(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    parts = np.asarray(scipy.ndimage.label(mask)[0], dtype=np.intp)
    large = np.bincount(parts.ravel()) >= SPECK_AREA
    large[0] = False
    return large[parts] if large.any() else mask


def _winds_outside(line: NDArray[np.float64]) -> bool:
    x, y = line.T
    # scikit-image keeps the mask on one side: outlines wind against holes.
    return float((x[:-1] * y[1:] - x[1:] * y[:-1]).sum()) > 0


def _share(total: int, lengths: list[float]) -> list[int]:
    """Divide a number by lengths; the largest remainders get what is left."""
    exact = total * np.array(lengths) / sum(lengths)
    shares = np.floor(exact).astype(int)
    order = np.argsort(shares - exact, kind="stable")
    shares[order[: total - int(shares.sum())]] += 1
    return shares.tolist()


def _spread(line: NDArray[np.float64], num_points: int) -> NDArray[np.float64]:
    """Points at equal distances along a closed line, from its topmost leftmost vertex."""
    ring = line[:-1]
    first = int(np.lexsort(ring.T)[0])
    ring = np.roll(ring, -first, axis=0)
    closed = np.concatenate((ring, ring[:1]))
    steps = [math.dist(a, b) for a, b in pairwise(closed)]
    along = np.concatenate(([0.0], np.cumsum(steps)))
    at = np.arange(num_points) * (along[-1] / max(num_points, 1))
    return np.stack([np.interp(at, along, axis) for axis in closed.T], axis=1)
