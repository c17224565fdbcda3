"""Where the samples of a query start on each level, without losing digits."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

Shapes = Sequence[tuple[int, int]]

# Reference points further out than this many levels are as good as there.
FAR = 4096.0


def pixel_centres(spatial_shapes: Shapes, *, dtype: torch.dtype, device: torch.device) -> Tensor:
    """The centre of each token's own pixel, as (x, y) in (0, 1) of its level: (N, 2)."""
    levels = []
    for height, width in spatial_shapes:
        y = (torch.arange(height, dtype=dtype, device=device) + 0.5) / height
        x = (torch.arange(width, dtype=dtype, device=device) + 0.5) / width
        levels.append(torch.stack(torch.meshgrid(x, y, indexing="xy"), -1).flatten(0, 1))
    return torch.cat(levels)


def make_anchors(
    reference_points: Tensor | None, spatial_shapes: Shapes, offsets: Tensor, dtype: torch.dtype
) -> Tensor:
    """Reference points in pixels, the whole part and the fraction apart.

    Near pixel 100 float32 counts in steps of 8e-6, and the error of a sample is about as large as
    that of its fraction. Apart, and together from float64, the fraction is right to 6e-8.

    Args:
        reference_points: (B, Q, L, 2), or None for the centres of the tokens.
        spatial_shapes: (height, width) of each level.
        offsets: (B, Q, M, L, P, 2); only shape and device are used.
        dtype: of the result.

    Returns:
        (B, Q, L, 2, 2): for x and for y (whole, fraction), contiguous.
    """
    if reference_points is None:
        centres = pixel_centres(spatial_shapes, dtype=torch.float64, device=offsets.device)
        reference_points = centres[None, :, None].expand(
            offsets.shape[0], -1, len(spatial_shapes), -1
        )
    points = reference_points.double().clamp(-FAR, FAR)
    anchors = points.new_empty((*points.shape, 2), dtype=dtype)
    for level, shape in enumerate(spatial_shapes):
        for axis, size in enumerate(reversed(shape)):
            pixels = points[:, :, level, axis] * size - 0.5
            anchors[:, :, level, axis, 0] = pixels.floor()
            anchors[:, :, level, axis, 1] = pixels - pixels.floor()
    return anchors


def locate(anchors: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
    """The pixel (column, row) above left of each sample, whole numbers, and the way from there.

    Args:
        anchors: of ``make_anchors``.
        offsets: (B, Q, M, L, P, 2), in pixels and in the type of the anchors.
    """
    whole, fraction = anchors[:, :, None, :, None].unbind(-1)
    moved = fraction + offsets
    return whole + moved.floor(), moved - moved.floor()


def grad_reference_points(grad_offsets: Tensor, spatial_shapes: Shapes) -> Tensor:
    """The gradient of reference points (B, Q, L, 2): that of the offsets, in another unit."""
    by_level = grad_offsets.sum(dim=(2, 4))
    grad = torch.empty_like(by_level)
    for level, (height, width) in enumerate(spatial_shapes):
        grad[:, :, level, 0] = by_level[:, :, level, 0] * width
        grad[:, :, level, 1] = by_level[:, :, level, 1] * height
    return grad
