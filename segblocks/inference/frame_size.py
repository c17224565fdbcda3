"""The size at which a model sees the frames of a video."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from segblocks.tracking.policy import Resizing


def fit_size(
    size: tuple[int, int],
    short_side: int | None,
    long_side: int | None,
    resizing: Resizing = "opencv",
) -> tuple[int, int]:
    """Scale a size to a short side, as far as the long side allows.

    Args:
        size: (H, W) of the video.
        short_side: that the shorter side gets, larger or smaller; None leaves the size as it is.
        long_side: that the longer side gets at most thereby; None sets no limit.
        resizing: as which official code rounds halves: "opencv" to even numbers (TarViS), "pillow"
            up (detectron2).

    Returns:
        (height, width), at least 1 each.

    Example:
        >>> fit_size((480, 854), 448, 1333), fit_size((100, 1000), 448, 1333)
        ((448, 797), (133, 1333))
    """
    if short_side is None:
        return size
    scale = short_side / min(size)
    if long_side is not None and scale * max(size) > long_side:
        scale = long_side / max(size)
    sides = (side * scale for side in size)
    if resizing == "pillow":
        height, width = (max(1, math.floor(side + 0.5)) for side in sides)
    else:
        height, width = (max(1, round(side)) for side in sides)
    return height, width


def resize_frame(frame: Tensor, size: tuple[int, int], resizing: Resizing = "opencv") -> Tensor:
    """Resize a frame: bilinear on its byte values.

    Args:
        frame: (3, H, W), uint8.
        size: (height, width) of the result.
        resizing: "opencv" is its INTER_LINEAR, which takes the four nearest pixels however much a
            frame shrinks; "pillow" is its BILINEAR, which then averages over more. Both up to the
            rounding of a level.

    Returns:
        (3, height, width), uint8.

    Example:
        >>> resize_frame(torch.tensor([0, 100], dtype=torch.uint8).expand(3, 1, 2), (1, 4))[0]
        tensor([[  0,  25,  75, 100]], dtype=torch.uint8)
    """
    if frame.shape[-2:] == size:
        return frame
    resized = F.interpolate(
        frame[None].float(),
        size=size,
        mode="bilinear",
        align_corners=False,
        antialias=resizing == "pillow",
    )
    return resized[0].round().clamp(0, 255).to(torch.uint8)
