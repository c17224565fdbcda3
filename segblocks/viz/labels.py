"""Names written on frames, each on the colour of what it names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Color = tuple[int, int, int]

# Luma of BT.601, and the middle between black and white.
_LUMA = (0.299, 0.587, 0.114)
_BRIGHT = 128


class Label(NamedTuple):
    """A text, the pixel (x, y) where it starts, and the colour behind it."""

    x: int
    y: int
    text: str
    color: Color


def draw_labels(frame: NDArray[np.uint8], labels: Sequence[Label]) -> NDArray[np.uint8]:
    """Write labels; one that would leave the frame is moved back in, as far as it fits.

    Args:
        frame: RGB, (H, W, 3).
        labels: what to write, later ones over earlier ones.

    Returns:
        A new frame, (H, W, 3).

    Example:
        >>> frame = np.zeros((20, 40, 3), np.uint8)
        >>> draw_labels(frame, [Label(2, 2, "dog", (128, 0, 0))]).shape
        (20, 40, 3)
    """
    image = Image.fromarray(frame)
    pen = ImageDraw.Draw(image)
    font = ImageFont.load_default(max(10, frame.shape[0] // 36))
    for x, y, text, color in labels:
        box = pen.textbbox((x, y), text, font=font)
        left = max(0, min(x, frame.shape[1] - int(box[2] - x) - 1))
        top = max(0, min(y, frame.shape[0] - int(box[3] - y) - 1))
        pen.rectangle(pen.textbbox((left, top), text, font=font), fill=color)
        bright = float(np.dot(color, _LUMA)) >= _BRIGHT
        pen.text((left, top), text, fill="black" if bright else "white", font=font)
    return np.array(image)
