"""Hints at the size at which a model sees the frames."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray


def resize_mask(mask: NDArray[np.bool_], size: tuple[int, int]) -> NDArray[np.bool_]:
    """Resize the mask of an object, which does not vanish thereby.

    Bilinear, then above one half, as the official TarViS code does. Where nothing is left of a
    small object, it keeps the pixel under its centre of mass.

    Args:
        mask: (H, W), with at least one pixel.
        size: (height, width) of the result.

    Example:
        >>> mask = np.zeros((8, 8), dtype=bool)
        >>> mask[7, 0] = True
        >>> resize_mask(mask, (4, 4)).nonzero()
        (array([3]), array([0]))
    """
    if mask.shape == size:
        return mask
    # A copy, as PyTorch takes neither masks that are mirrored nor such as may not be written.
    soft = torch.from_numpy(mask.copy())[None, None].float()
    resized = F.interpolate(soft, size=size, mode="bilinear", align_corners=False)[0, 0] > 0.5
    if not resized.any():
        centre = np.argwhere(mask).mean(axis=0) + 0.5
        row, column = (centre * np.divide(size, mask.shape)).astype(int)
        resized[row, column] = True
    return resized.numpy()


def resize_point(
    point: NDArray[np.float64], size: tuple[int, int], new_size: tuple[int, int]
) -> NDArray[np.float64]:
    """Move a point along with the pixels under it when a frame is resized.

    Args:
        point: (x, y) in pixels, (0, 0) being the centre of the top-left pixel.
        size: (H, W) of the frame.
        new_size: (height, width) after resizing.

    Example:
        >>> resize_point(np.array([1.5, 0.0]), (4, 4), (8, 8))
        array([3.5, 0.5])
    """
    scale = np.divide(new_size[::-1], size[::-1])
    return (point + 0.5) * scale - 0.5


def resize_box(
    box: NDArray[np.float64], size: tuple[int, int], new_size: tuple[int, int]
) -> NDArray[np.float64]:
    """Move a box along with the pixels in it when a frame is resized.

    Args:
        box: (x0, y0, x1, y1) in pixel edges.
        size: (H, W) of the frame.
        new_size: (height, width) after resizing.

    Example:
        >>> resize_box(np.array([0.0, 1.0, 3.0, 4.0]), (4, 4), (8, 8))
        array([0., 2., 6., 8.])
    """
    scale = np.divide(new_size[::-1], size[::-1])
    return box * np.tile(scale, 2)
