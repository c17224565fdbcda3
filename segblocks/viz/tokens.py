"""Between pixels of a frame and the tokens of flattened levels."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

Shapes = Sequence[tuple[int, int]]


def token_at(
    point: tuple[float, float], size: tuple[int, int], spatial_shapes: Shapes, level: int
) -> int:
    """Find the token of a level that covers a pixel.

    Args:
        point: (x, y) in pixels of the frame, (0, 0) being the centre of the top-left one.
        size: (H, W) of the frame as the model sees it, padding included.
        spatial_shapes: (height, width) of each level, in the order of the tokens.
        level: index into ``spatial_shapes``.

    Returns:
        Its index among the tokens of all levels.

    Raises:
        ValueError: a point outside of the frame, or no such level.

    Example:
        >>> token_at((40, 8), (32, 64), [(1, 2), (2, 4)], level=1)
        4
    """
    (x, y), (height, width) = point, size
    if not (-0.5 <= x < width - 0.5 and -0.5 <= y < height - 0.5):
        raise ValueError(f"token_at: point must lie in the frame of {width}x{height}, got {point}")
    if not 0 <= level < len(spatial_shapes):
        raise ValueError(f"token_at: level must be 0 to {len(spatial_shapes) - 1}, got {level}")
    rows, columns = spatial_shapes[level]
    before = sum(h * w for h, w in spatial_shapes[:level])
    row, column = int((y + 0.5) * rows / height), int((x + 0.5) * columns / width)
    return before + row * columns + column


def token_center(token: int, size: tuple[int, int], spatial_shapes: Shapes) -> tuple[float, float]:
    """Find the middle of what a token covers.

    Args:
        token: index among the tokens of all levels.
        size: (H, W) of the frame as the model sees it, padding included.
        spatial_shapes: (height, width) of each level.

    Returns:
        (x, y) in pixels of the frame, (0, 0) being the centre of the top-left one.

    Raises:
        ValueError: no such token.

    Example:
        >>> token_center(4, (32, 64), [(1, 2), (2, 4)])
        (39.5, 7.5)
    """
    first = 0
    for rows, columns in spatial_shapes:
        if first <= token < first + rows * columns:
            row, column = divmod(token - first, columns)
            height, width = size
            return (column + 0.5) * width / columns - 0.5, (row + 0.5) * height / rows - 0.5
        first += rows * columns
    raise ValueError(f"token_center: token must be 0 to {first - 1}, got {token}")


def spread_over_pixels(values: Tensor, size: tuple[int, int], spatial_shapes: Shapes) -> Tensor:
    """Divide the value of each token among the pixels that it covers, and sum over the levels.

    Args:
        values: (..., N), one a token of all levels.
        size: (H, W) of the frame as the model sees it, padding included; multiples of the levels.
        spatial_shapes: (height, width) of each level.

    Returns:
        (..., H, W), with the same sum as ``values``.

    Raises:
        ValueError: another number of tokens, or a size that a level does not divide.

    Example:
        >>> import torch
        >>> spread_over_pixels(torch.tensor([4.0, 8.0]), (2, 4), [(1, 2)])[0]
        tensor([1., 1., 2., 2.])
    """
    height, width = size
    counts = [rows * columns for rows, columns in spatial_shapes]
    uneven = any(height % rows or width % columns for rows, columns in spatial_shapes)
    if values.shape[-1] != sum(counts) or uneven:
        raise ValueError(
            f"spread_over_pixels: values must be (..., {sum(counts)}) and size multiples of the "
            f"levels {list(spatial_shapes)}, got {tuple(values.shape)} and {size}"
        )
    total = values.new_zeros((*values.shape[:-1], height, width))
    for part, (rows, columns) in zip(values.split(counts, dim=-1), spatial_shapes, strict=True):
        grid = part.reshape(-1, 1, rows, columns) * (rows * columns / (height * width))
        total += F.interpolate(grid, size=size, mode="nearest").view_as(total)
    return total
