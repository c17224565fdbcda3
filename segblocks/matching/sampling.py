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
    x, y = points[..., 0] * w - 0.5, points[..., 1] * h - 0.5
    left, top = x.floor(), y.floor()
    for row, row_weight in ((top, 1 - (y - top)), (top + 1, y - top)):
        for column, column_weight in ((left, 1 - (x - left)), (left + 1, x - left)):
            inside = (row >= 0) & (row < h) & (column >= 0) & (column < w)
            index = row.clamp(0, h - 1).long() * w + column.clamp(0, w - 1).long()
            yield index, row_weight * column_weight * inside


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
    frames = [sample_own(maps, t, points[:, t], index) for t in range(maps.shape[1])]
    return torch.stack(frames, dim=1)


def sample_own(maps: Tensor, t: int, points: Tensor, index: Tensor | None = None) -> Tensor:
    """Sample frame ``t`` of maps (O, T, H, W) at points (N, P, 2) of map ``index[n]``: (N, P)."""
    order = torch.arange(len(maps), device=maps.device) if index is None else index
    h, w = maps.shape[-2:]
    first = ((order * maps.shape[1] + t) * (h * w))[:, None]
    flat = maps.reshape(-1)
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
