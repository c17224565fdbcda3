"""Draw masks, their anchors and their shape-position descriptors side by side.

``python docs/draw_descriptor.py [out.png]``. Each row is a mask with its anchors, its centre and
the rings; the histogram in its polar place; and the same unrolled, angles to the right and radii
upwards. Blue bins hold anchors, orange ones are negative.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from segblocks.nn import ShapePositionDescriptor, descriptor_change
from segblocks.nn.contours import trace_contour

SIDE = 256
GAP = 16
TITLE = 18
ANGLES, RADII = 36, 12
ROWS: tuple[tuple[str, str, float, float, Literal["recommended", "literal"]], ...] = (
    ("A: a star", "star", 90, 100, "recommended"),
    ("B: the same star, elsewhere", "star", 168, 150, "recommended"),
    ("C: an egg, where A is", "egg", 90, 100, "recommended"),
    ("A, read literally", "star", 90, 100, "literal"),
)


def draw_mask(shape: str, x: float, y: float) -> NDArray[np.bool_]:
    """A shape about 100 pixels across, (256, 256)."""
    grid = np.arange(SIDE) + 0.5
    dx, dy = grid[None] - x, grid[:, None] - y
    angle = np.arctan2(dy, dx)
    if shape == "star":
        radius = 42 + 14 * np.cos(5 * angle)
    else:
        radius = 44 - 16 * np.cos(angle) + 4 * np.cos(2 * angle)
    return np.hypot(dx, dy) <= radius


def color(value: float, top: float) -> tuple[int, int, int]:
    """White for 0, blue for positive and orange for negative values."""
    if value < 0:
        return 244, 177, 96
    share = min(1.0, math.sqrt(value / top))
    return int(255 - 225 * share), int(255 - 165 * share), int(255 - 65 * share)


def polar_bin(cx: float, cy: float, reach: float, i: int, j: int) -> list[tuple[float, float]]:
    """The outline of a bin."""
    angles = [(i + k / 4) * 2 * math.pi / ANGLES for k in range(5)]
    inner, outer = j * reach / RADII, (j + 1) * reach / RADII
    rim = [(cx + outer * math.cos(a), cy + outer * math.sin(a)) for a in angles]
    return rim + [(cx + inner * math.cos(a), cy + inner * math.sin(a)) for a in reversed(angles)]


def draw_row(title: str, mask: NDArray[np.bool_], reading: Literal["recommended", "literal"]):
    """A row of the picture, and its histogram."""
    descriptor = ShapePositionDescriptor(reading=reading)
    histogram = descriptor(torch.from_numpy(mask)).histogram
    values = histogram.tolist()
    top = float(histogram.max())
    row = Image.new("RGB", (3 * SIDE + 2 * GAP + SIDE // 2, SIDE + TITLE), "white")
    pen = ImageDraw.Draw(row)
    pen.text((2, 2), title, fill="black")
    points = trace_contour(mask, 200)
    y, x = np.argwhere(mask).mean(axis=0) + 0.5
    reach = math.hypot(SIDE, SIDE) / 2
    if reading == "literal":
        reach = float(np.hypot(*(points - (x, y)).T).max())
    panel = Image.fromarray(np.where(mask[..., None], 205, 245).astype(np.uint8).repeat(3, axis=2))
    ink = ImageDraw.Draw(panel)
    for j in range(1, RADII + 1):
        r = j * reach / RADII
        ink.ellipse((x - r, y - r, x + r, y + r), outline=(225, 225, 225))
    for px, py in points:
        ink.ellipse((px - 1, py - 1, px + 1, py + 1), fill=(30, 90, 190))
    ink.ellipse((x - 3, y - 3, x + 3, y + 3), fill=(200, 40, 40))
    row.paste(panel, (0, TITLE))
    middle = (SIDE + GAP + SIDE / 2, TITLE + SIDE / 2)
    for i in range(ANGLES):
        for j in range(RADII):
            fill = color(values[i][j], top)
            pen.polygon(polar_bin(*middle, SIDE / 2 - 2, i, j), fill=fill, outline=(225, 225, 225))
            left, up = 2 * SIDE + 2 * GAP + i * 10, TITLE + SIDE - 8 - (j + 1) * 20
            pen.rectangle((left, up, left + 10, up + 20), fill=fill, outline=(225, 225, 225))
    return row, histogram


def main(path: Path) -> None:
    """Draw the picture, and print how far its rows are from each other."""
    rows = [draw_row(title, draw_mask(shape, x, y), r) for title, shape, x, y, r in ROWS]
    width, height = rows[0][0].size
    sheet = Image.new("RGB", (width + 2 * GAP, len(rows) * (height + GAP) + GAP), "white")
    for n, (row, _) in enumerate(rows):
        sheet.paste(row, (GAP, GAP + n * (height + GAP)))
    sheet.quantize(64).save(path, optimize=True)
    a, b, c = (histogram for _, histogram in rows[:3])
    print(
        f"A to B: {float(descriptor_change(a, b)):.2f}, to C: {float(descriptor_change(a, c)):.2f}"
    )


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "descriptor.png"))
