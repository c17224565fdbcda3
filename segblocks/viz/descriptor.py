"""Descriptors of shape and position: rings over the mask, bins in their place and unrolled."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from segblocks.nn.contours import Contours, mark_contours
from segblocks.nn.shape_position import ShapePositionDescriptor

_GAP = 16
_LINE = (225, 225, 225)
_ANCHOR = (30, 90, 190)
_CENTER = (200, 40, 40)
_NEGATIVE = (244, 177, 96)


def draw_descriptor(
    mask: NDArray[np.bool_], descriptor: ShapePositionDescriptor | None = None
) -> NDArray[np.uint8]:
    """Draw a mask and its descriptor of shape and position (GvSeg eq. 3, 4).

    From left to right: the mask with its anchors, its centre and the rings; the bins in their polar
    place; the same unrolled, angles to the right and radii upwards. Blue bins hold anchors, orange
    ones are negative.

    Args:
        mask: (H, W), with at least the descriptor's ``min_area`` pixels.
        descriptor: whose reading to draw; None takes the recommended one.

    Returns:
        RGB, (H, W', 3).

    Raises:
        ValueError: another shape or dtype, a mask that is too small, or a descriptor with rings of
            equal ratio.

    Example:
        >>> mask = np.zeros((48, 64), bool)
        >>> mask[10:30, 20:50] = True
        >>> draw_descriptor(mask).shape
        (48, 180, 3)
    """
    descriptor = descriptor or ShapePositionDescriptor()
    if mask.ndim != 2 or mask.dtype != np.bool_:
        raise ValueError(
            f"draw_descriptor: mask must be boolean (H, W), got {mask.shape} {mask.dtype}"
        )
    if descriptor.log_radius:
        raise ValueError("draw_descriptor: descriptor must have rings of equal width")
    described = descriptor(torch.from_numpy(mask))
    if not described.valid:
        raise ValueError(
            f"draw_descriptor: mask must have at least {descriptor.min_area} pixels, "
            f"got {int(mask.sum())}"
        )
    histogram = described.histogram.numpy()
    height, width = mask.shape
    bin_size = max(1, height // 25), max(1, (height - 8) // descriptor.radii)
    unrolled = descriptor.angles * bin_size[0]
    sheet = Image.new("RGB", (width + height + unrolled + 2 * _GAP, height), "white")
    sheet.paste(_draw_rings(mask, descriptor), (0, 0))
    pen = ImageDraw.Draw(sheet)
    _draw_polar(pen, histogram, (width + _GAP + height / 2, height / 2), height / 2 - 2)
    _draw_unrolled(pen, histogram, (width + height + 2 * _GAP, height - 8), bin_size)
    return np.array(sheet)


def _draw_rings(mask: NDArray[np.bool_], descriptor: ShapePositionDescriptor) -> Image.Image:
    grey = np.where(mask, 205, 245).astype(np.uint8)
    panel = Image.fromarray(grey).convert("RGB")
    pen = ImageDraw.Draw(panel)
    x, y = (float(mean) + 0.5 for mean in reversed([axis.mean() for axis in np.nonzero(mask)]))
    contours = mark_contours(torch.from_numpy(mask)[None])
    reach = _reach(descriptor, contours, (x, y), mask.shape)
    for ring in range(1, descriptor.radii + 1):
        radius = ring * reach / descriptor.radii
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), outline=_LINE)
    for px, py in contours.points.tolist():
        pen.ellipse((px - 1, py - 1, px + 1, py + 1), fill=_ANCHOR)
    pen.ellipse((x - 3, y - 3, x + 3, y + 3), fill=_CENTER)
    return panel


def _reach(
    descriptor: ShapePositionDescriptor,
    contours: Contours,
    center: tuple[float, float],
    size: tuple[int, ...],
) -> float:
    """Where the outermost ring ends, in pixels."""
    distances = (contours.points - torch.tensor(center)).norm(dim=1)
    if descriptor.radius == "max":
        return float(distances.max())
    if descriptor.radius == "mean":
        return float(2 * (contours.weights * distances).sum() / contours.weights.sum())
    return math.hypot(*size) * (0.5 if descriptor.radius == "image" else 1.0)


def _draw_polar(
    pen: ImageDraw.ImageDraw,
    histogram: NDArray[np.float32],
    center: tuple[float, float],
    reach: float,
) -> None:
    angles, radii = histogram.shape
    for i, j in np.ndindex(angles, radii):
        turns = [(i + k / 4) * 2 * math.pi / angles for k in range(5)]
        inner, outer = j * reach / radii, (j + 1) * reach / radii
        rim = [(outer, turn) for turn in turns] + [(inner, turn) for turn in reversed(turns)]
        corners = [(center[0] + r * math.cos(a), center[1] + r * math.sin(a)) for r, a in rim]
        pen.polygon(corners, fill=_bin_color(histogram, i, j), outline=_LINE)


def _draw_unrolled(
    pen: ImageDraw.ImageDraw,
    histogram: NDArray[np.float32],
    corner: tuple[int, int],
    bin_size: tuple[int, int],
) -> None:
    for i, j in np.ndindex(*histogram.shape):
        left, top = corner[0] + i * bin_size[0], corner[1] - (j + 1) * bin_size[1]
        box = (left, top, left + bin_size[0], top + bin_size[1])
        pen.rectangle(box, fill=_bin_color(histogram, i, j), outline=_LINE)


def _bin_color(histogram: NDArray[np.float32], i: int, j: int) -> tuple[int, int, int]:
    """White for 0, blue for positive and orange for negative values."""
    value = float(histogram[i, j])
    if value < 0:
        return _NEGATIVE
    share = math.sqrt(value / float(histogram.max()))
    return int(255 - 225 * share), int(255 - 165 * share), int(255 - 65 * share)
