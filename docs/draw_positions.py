"""Draw how alike the codes of places are: docs/modules/positions.md shows the picture.

``python -m docs.draw_positions [out.png]``
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from segblocks.nn import sine_position_2d, sine_position_3d

HEIGHT, WIDTH, FRAMES, CHANNELS = 24, 40, 12, 256
PIXELS = ((4, 6), (12, 20), (20, 33))
SCALE, GAP = 6, 8


def likeness_of_pixels(row: int, column: int) -> Tensor:
    """The inner product of the code of a pixel with those of all, (HEIGHT, WIDTH)."""
    codes = sine_position_2d(HEIGHT, WIDTH, CHANNELS)
    return codes @ codes[row, column]


def likeness_of_frames() -> Tensor:
    """The inner product of the codes of frames with each other, (FRAMES, FRAMES)."""
    placed = sine_position_3d(FRAMES, 1, 1, CHANNELS)[:, 0, 0]
    codes = placed - sine_position_2d(1, 1, CHANNELS)[0, 0]
    return codes @ codes.T


def panel(values: Tensor, height: int) -> Image.Image:
    """Values as greys, the largest white, enlarged to a height in pixels."""
    low, high = values.min(), values.max()
    greys = ((values - low) / (high - low) * 255).round().to(torch.uint8)
    picture = Image.fromarray(greys.numpy())
    width = round(height * picture.width / picture.height)
    return picture.resize((width, height), Image.Resampling.NEAREST)


def main(path: Path) -> None:
    """Put the panels beside each other."""
    maps = [likeness_of_pixels(*pixel) for pixel in PIXELS] + [likeness_of_frames()]
    panels = [panel(values, HEIGHT * SCALE) for values in maps]
    width = sum(one.width + GAP for one in panels) + GAP
    sheet = Image.new("L", (width, HEIGHT * SCALE + 2 * GAP), 255)
    left = GAP
    for one in panels:
        sheet.paste(one, (left, GAP))
        left += one.width + GAP
    sheet.save(path, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "positions.png"))
