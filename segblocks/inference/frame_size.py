"""The size at which a model sees the frames of a video."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def fit_size(
    size: tuple[int, int], short_side: int | None, long_side: int | None
) -> tuple[int, int]:
    """Scale a size to a short side, as far as the long side allows.

    Args:
        size: (H, W) of the video.
        short_side: that the shorter side gets, larger or smaller; None leaves the size as it is.
        long_side: that the longer side gets at most thereby; None sets no limit.

    Returns:
        (height, width), rounded as Python's ``round`` does (official), at least 1 each.

    Example:
        >>> fit_size((480, 854), 448, 1333), fit_size((100, 1000), 448, 1333)
        ((448, 797), (133, 1333))
    """
    if short_side is None:
        return size
    scale = short_side / min(size)
    if long_side is not None and scale * max(size) > long_side:
        scale = long_side / max(size)
    height, width = (max(1, round(side * scale)) for side in size)
    return height, width


def resize_frame(frame: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize a frame: bilinear on its byte values, without anti-aliasing.

    This is OpenCV's INTER_LINEAR, which the official code uses, up to a rounding of a half.

    Args:
        frame: (3, H, W), uint8.
        size: (height, width) of the result.

    Returns:
        (3, height, width), uint8.

    Example:
        >>> resize_frame(torch.tensor([0, 100], dtype=torch.uint8).expand(3, 1, 2), (1, 4))[0]
        tensor([[  0,  25,  75, 100]], dtype=torch.uint8)
    """
    if frame.shape[-2:] == size:
        return frame
    resized = F.interpolate(frame[None].float(), size=size, mode="bilinear", align_corners=False)
    return resized[0].round().to(torch.uint8)
