"""Principal components: features as colours, many dimensions as two."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

# Few pixels are so far out that they would leave all others one colour.
_TAILS = (0.01, 0.99)


def principal_axes(points: Tensor, count: int) -> Tensor:
    """The directions in which centred points vary most.

    Args:
        points: (N, C), of mean 0.
        count: how many directions, up to C.

    Returns:
        (C, count) float32, orthonormal columns by descending variance; the largest number of each
        is positive, so that equal points give equal axes.

    Raises:
        ValueError: another shape, or more directions than C.

    Example:
        >>> principal_axes(torch.tensor([[3.0, 0.0], [-3.0, 0.0], [0.0, 1.0], [0.0, -1.0]]), 1)
        tensor([[1.],
                [0.]])
    """
    if points.dim() != 2 or not 0 < count <= points.shape[1]:
        raise ValueError(
            f"principal_axes: points must be (N, C) and count 1 to C, got {tuple(points.shape)} "
            f"and {count}"
        )
    points = points.float()
    axes = torch.linalg.eigh(points.mT @ points)[1].flip(-1)[:, :count]
    largest = axes.gather(0, axes.abs().argmax(dim=0, keepdim=True))
    return axes * torch.where(largest < 0, -1.0, 1.0)


@torch.no_grad()
def feature_image(features: Tensor, *, scale: int = 1) -> NDArray[np.uint8]:
    """Show the features of a clip as colours: their three principal components as red, green, blue.

    Components are those of all frames together, so that a colour means the same in each.

    Args:
        features: (T, C, h, w), such as ``output.mask_features[0]``, at least three channels.
        scale: pixels of the picture a feature, such as the stride.

    Returns:
        (T, scale * h, scale * w, 3) uint8.

    Raises:
        ValueError: another shape, or a scale below 1.

    Example:
        >>> feature_image(torch.randn(2, 8, 4, 6), scale=4).shape
        (2, 16, 24, 3)
    """
    if features.dim() != 4 or features.shape[1] < 3 or scale < 1:
        raise ValueError(
            "feature_image: features must be (T, C, h, w) with C of at least 3, and scale at least "
            f"1, got {tuple(features.shape)} and {scale}"
        )
    pixels = features.float().movedim(1, -1)
    points = pixels.flatten(0, 2)
    points = points - points.mean(dim=0)
    colors = points @ principal_axes(points, 3)
    # Percentiles by sorting: torch.quantile refuses more than 16 million numbers.
    ordered = colors.sort(dim=0).values
    low, high = (ordered[round(tail * (len(ordered) - 1))] for tail in _TAILS)
    shares = ((colors - low) / (high - low).clamp(min=1e-12)).clamp(0, 1)
    image = (shares * 255).round().byte().view(*pixels.shape[:3], 3).cpu().numpy()
    return image.repeat(scale, axis=1).repeat(scale, axis=2)
