"""Draw masks, their anchors and their shape-position descriptors below each other.

``python docs/draw_descriptor.py [out.png]``. Each row is drawn by
:func:`segblocks.viz.draw_descriptor`.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from segblocks.nn import ShapePositionDescriptor, descriptor_change
from segblocks.viz import contact_sheet, draw_descriptor

SIDE = 256
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


def main(path: Path) -> None:
    """Draw the picture, and print how far its rows are from each other."""
    rows, histograms = {}, []
    for title, shape, x, y, reading in ROWS:
        mask, descriptor = draw_mask(shape, x, y), ShapePositionDescriptor(reading=reading)
        rows[title] = [draw_descriptor(mask, descriptor)]
        histograms.append(descriptor(torch.from_numpy(mask)).histogram)
    Image.fromarray(contact_sheet(rows, gap=16)).quantize(64).save(path, optimize=True)
    a, b, c, _ = histograms
    print(
        f"A to B: {float(descriptor_change(a, b)):.2f}, to C: {float(descriptor_change(a, c)):.2f}"
    )


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "descriptor.png"))
