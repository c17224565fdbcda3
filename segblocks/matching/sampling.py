"""Bilinear samples of features and masks, and nearest ones of label maps, at points.

A point is (x, y) in [0, 1] of the frame, so that one set of points serves maps of any resolution.
The centre of the pixel in column j of w is at x = (j + 0.5) / w, and beyond the map there are
zeros: the convention of PointRend, Mask2Former and ``grid_sample`` without aligned corners.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor


def bilinear_corners(points: Tensor, size: Sequence[int]) -> Iterator[tuple[Tensor, Tensor]]:
    """Name the four pixels around each point, and their weights.

    Args:
        points: (..., 2), (x, y) in [0, 1].
        size: (h, w) of the map.

    Yields:
        Four pairs (index (...) int64 into the flattened map, weight (...)); the weight of a pixel
        beyond the map is 0.

    Example:
        >>> corners = bilinear_corners(torch.tensor([[0.5, 0.5]]), (2, 2))
        >>> [(int(index), float(weight)) for index, weight in corners]
        [(0, 0.25), (1, 0.25), (2, 0.25), (3, 0.25)]
    """
    h, w = size
    columns, rows = _neighbours(points[..., 0], w), _neighbours(points[..., 1], h)
    for row, row_weight in rows:
        first = row * w
        for column, column_weight in columns:
            yield first + column, row_weight * column_weight


def _neighbours(coordinate: Tensor, size: int) -> tuple[tuple[Tensor, Tensor], ...]:
    """The two pixels of an axis around each point, and their weights."""
    position = coordinate * size - 0.5
    first = position.floor()
    share = position - first
    index = first.long()
    second = index + 1
    return (
        (index.clamp(0, size - 1), (1 - share) * ((index >= 0) & (index < size))),
        (second.clamp(0, size - 1), share * ((second >= 0) & (second < size))),
    )


def sample_features(features: Tensor, points: Tensor) -> Tensor:
    """Sample the features of a clip.

    Args:
        features: (T, C, h, w).
        points: (P, 2), the same in all frames, or (T, P, 2).

    Returns:
        (T, C, P), float32 at least.

    Example:
        >>> sample_features(torch.zeros(3, 8, 4, 5), torch.rand(7, 2)).shape
        torch.Size([3, 8, 7])
    """
    points = points_of_frames("sample_features", points, len(features))
    return torch.stack(
        [sample_frame(frame, at) for frame, at in zip(features, points, strict=True)]
    )


def sample_frame(frame: Tensor, points: Tensor) -> Tensor:
    """Sample maps (C, h, w) that share their points (P, 2): (C, P), float32 at least."""
    flat = frame.flatten(1)
    sampled = torch.zeros((), device=frame.device)
    for index, weight in bilinear_corners(points, frame.shape[-2:]):
        sampled = sampled + flat.index_select(1, index) * weight
    return sampled


def sample_maps(maps: Tensor, points: Tensor, index: Tensor | None = None) -> Tensor:
    """Sample masks or logit maps, each at points of its own or all at the same.

    Args:
        maps: (O, T, H, W), of any dtype; a boolean map is read where it lies, without a copy in
            floating point.
        points: (P, 2) or (T, P, 2), shared by the maps, or (N, T, P, 2).
        index: (N,) int64, the map of each set of points; by default N is O.

    Returns:
        (O, T, P), or (N, T, P) for points (N, T, P, 2); float32 at least.

    Raises:
        ValueError: points that fit neither the maps nor ``index``.

    Example:
        >>> masks = torch.ones(2, 3, 4, 4, dtype=torch.bool)
        >>> sample_maps(masks, torch.full((1, 2), 0.5)).flatten().tolist()
        [1.0, 1.0, 1.0, 1.0, 1.0, 1.0]
    """
    if points.dim() < 4:
        points = points_of_frames("sample_maps", points, maps.shape[1])
        frames = [
            sample_frame(maps[:, t], points[t]).to(torch.promote_types(maps.dtype, torch.float32))
            for t in range(maps.shape[1])
        ]
        return torch.stack(frames, dim=1)
    maps = maps.contiguous()
    rows = len(maps) if index is None else len(index)
    if points.shape[:2] != (rows, maps.shape[1]):
        raise ValueError(
            f"sample_maps: points must be ({rows}, {maps.shape[1]}, P, 2), "
            f"got {tuple(points.shape)}"
        )
    index = torch.arange(len(maps), device=maps.device) if index is None else index
    return sample_frames(maps, slice(0, maps.shape[1]), points, index)


def sample_frames(maps: Tensor, frames: slice, points: Tensor, index: Tensor) -> Tensor:
    """Sample frames of maps (O, T, H, W) at (N, t, P, 2) of map ``index[n]``: (N, t, P)."""
    h, w = maps.shape[-2:]
    rows = torch.arange(frames.start, frames.stop, device=maps.device)
    first = ((index[:, None] * maps.shape[1] + rows) * (h * w))[..., None]
    flat = maps.view(-1)
    sampled = torch.zeros((), device=maps.device)
    for corner, weight in bilinear_corners(points, (h, w)):
        values = flat.index_select(0, (first + corner).flatten())
        sampled = sampled + values.view_as(corner) * weight
    return sampled


def sample_labels(labels: Tensor, points: Tensor) -> Tensor:
    """Read the label of the pixel that each point falls in.

    Args:
        labels: (T, H, W), integers.
        points: (P, 2) or (T, P, 2).

    Returns:
        (T, P), the dtype of ``labels``.

    Example:
        >>> sample_labels(torch.tensor([[[4, 7]]]), torch.tensor([[0.1, 0.5], [0.9, 0.5]]))
        tensor([[4, 7]])
    """
    points = points_of_frames("sample_labels", points, len(labels))
    h, w = labels.shape[-2:]
    column = (points[..., 0] * w).long().clamp(0, w - 1)
    row = (points[..., 1] * h).long().clamp(0, h - 1)
    return labels.flatten(1).gather(1, row * w + column)


def points_of_frames(where: str, points: Tensor, num_frames: int) -> Tensor:
    """Check points that masks share, (P, 2) or (T, P, 2), and spread them over the frames.

    Raises:
        ValueError: another shape.
    """
    if points.dim() == 2 and points.shape[-1] == 2:
        return points.expand(num_frames, *points.shape)
    if points.dim() != 3 or points.shape[0] != num_frames or points.shape[-1] != 2:
        raise ValueError(
            f"{where}: points must be (P, 2) or ({num_frames}, P, 2), got {tuple(points.shape)}"
        )
    return points
