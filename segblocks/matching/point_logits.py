"""Mask logits at points, without the mask."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from segblocks.matching.sampling import points_of_frames, sample_frame
from segblocks.matching.tiles import Tile, runs, tile_gradient, tile_logits, tiles


def point_logits(
    embeddings: Tensor, features: Tensor, points: Tensor, *, index: Tensor | None = None
) -> Tensor:
    """Compute the inner product of mask embeddings with mask features at points only.

    Equal to sampling ``mask_logits(embeddings, features)`` bilinearly, since sampling and the
    inner product are both linear; the (N, T, h, w) maps in between are never held. A few masks are
    multiplied and then sampled at a time; points that all masks share sample the features instead
    where they are fewer than those have pixels. The backward pass computes this anew, so that only
    inputs and result are stored.

    Args:
        embeddings: (N, C), one a clip, or (N, T, C), one a frame. Those of several predictions may
            be stacked along N: the gradient by the features is then made once and not once each.
            (N, k, T, C) are sets of k masks that share their points.
        features: (T, C, h, w). Of a batch take ``features.unbind()``: the gradient of an index
            would be as large as the batch for each video.
        points: (P, 2), shared by masks and frames; (T, P, 2), shared by the masks; or
            (M, T, P, 2), several sets.
        index: (N,) int64, the points of each mask; by default M is N, each its own. For sets of
            masks (N, k, T, C) the points of each set.

    Returns:
        (N, T, P) or (N, k, T, P), float32 at least. The product itself is computed in the type of
        its factors.

    Raises:
        ValueError: shapes that do not fit.

    Example:
        >>> embeddings, features = torch.ones(2, 8), torch.ones(3, 8, 4, 5)
        >>> point_logits(embeddings, features, torch.full((1, 2), 0.5)).flatten().tolist()
        [8.0, 8.0, 8.0, 8.0, 8.0, 8.0]
    """
    if embeddings.dim() == 4:
        embeddings_of_frames("point_logits", embeddings.flatten(0, 1), features)
        check_point_sets("point_logits", points, index, embeddings[:, 0])
        return _PointLogits.apply(embeddings, features, points, index)
    per_frame = embeddings_of_frames("point_logits", embeddings, features)
    if points.dim() < 4:
        points = points_of_frames("point_logits", points, len(features))
        return _PointLogits.apply(per_frame[None], features, points[None], None)[0]
    check_point_sets("point_logits", points, index, per_frame)
    return _PointLogits.apply(per_frame[:, None], features, points, index)[:, 0]


def embeddings_of_frames(where: str, embeddings: Tensor, features: Tensor) -> Tensor:
    """Check embeddings (N, C) or (N, T, C) against features (T, C, h, w): (N, T, C).

    Raises:
        ValueError: other shapes.
    """
    if features.dim() != 4:
        raise ValueError(f"{where}: features must be (T, C, h, w), got {tuple(features.shape)}")
    frames, channels = features.shape[:2]
    if embeddings.dim() == 2:
        embeddings = embeddings[:, None].expand(-1, frames, -1)
    if embeddings.dim() != 3 or embeddings.shape[1:] != (frames, channels):
        raise ValueError(
            f"{where}: embeddings must be (N, {channels}) or (N, {frames}, {channels}), "
            f"got {tuple(embeddings.shape)}"
        )
    return embeddings


def check_point_sets(where: str, points: Tensor, index: Tensor | None, embeddings: Tensor) -> None:
    """Check points (M, T, P, 2) and their index (N,) against embeddings (N, T, C).

    Raises:
        ValueError: other shapes.
    """
    masks, frames = embeddings.shape[:2]
    sets = len(points) if index is not None else masks
    expected = (sets, frames, points.shape[-2], 2)
    if points.dim() != 4 or tuple(points.shape) != expected:
        raise ValueError(f"{where}: points must be {expected}, got {tuple(points.shape)}")
    if index is not None and index.shape != (masks,):
        raise ValueError(f"{where}: index must be ({masks},), got {tuple(index.shape)}")


class _PointLogits(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, embeddings: Tensor, features: Tensor, points: Tensor, index: Tensor | None
    ) -> Tensor:
        ctx.save_for_backward(embeddings, features, points)
        ctx.index = index
        num_points, pixels = points.shape[-2], features.shape[-2] * features.shape[-1]
        with torch.autocast(features.device.type, enabled=False):
            # With one set of points for all masks the features are sampled where that is less.
            if len(points) == 1 and index is None and num_points < pixels:
                return _shared_logits(embeddings[0], features, points[0])[None]
            logits = features.new_empty(
                *embeddings.shape[:3], num_points, dtype=_result_type(embeddings, features)
            )
            for tile in tiles_of(embeddings, features, num_points):
                at = points_of_tile(points, index, tile)
                logits[tile] = tile_logits(embeddings[tile], features[tile[2]], at)
        return logits

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, grad: Tensor
    ) -> tuple[Tensor | None, Tensor | None, None, None]:
        embeddings, features, points = ctx.saved_tensors

        def grad_of(tile: Tile, at: Tensor) -> Tensor:
            return grad[tile]

        def points_of(tile: Tile) -> Tensor:
            return points_of_tile(points, ctx.index, tile)

        grads = gradients(ctx, embeddings, features, points.shape[-2], points_of, grad_of)
        return (*grads, None, None)


def tiles_of(embeddings: Tensor, features: Tensor, num_points: int) -> Iterator[Tile]:
    """Cut sets of masks (M, k, T, C) into tiles of which neither maps nor samples are large."""
    num_sets, num_masks, num_frames, _ = embeddings.shape
    size = max(num_points, features.shape[-2] * features.shape[-1])
    return tiles((num_sets, num_masks, num_frames), size, features.device)


def points_of_tile(points: Tensor, index: Tensor | None, tile: Tile) -> Tensor:
    """Take the points of a tile: (m, t, P, 2)."""
    sets, _, frames = tile
    return points[sets, frames] if index is None else points[index[sets], frames]


def gradients(
    ctx: Any,
    embeddings: Tensor,
    features: Tensor,
    num_points: int,
    points_of: Callable[[Tile], Tensor],
    grad_of: Callable[[Tile, Tensor], Tensor],
) -> tuple[Tensor | None, Tensor | None]:
    """Collect the gradients by embeddings and features, tile by tile.

    Args:
        ctx: of the autograd function, whose first two inputs these are.
        embeddings: (M, k, T, C).
        features: (T, C, h, w).
        num_points: P.
        points_of: tile -> its points, (m, t, P, 2).
        grad_of: (tile, points) -> gradient by its logits, (m, k, t, P).
    """
    grad_embeddings = torch.zeros_like(embeddings, memory_format=torch.contiguous_format)
    grad_features = None
    if ctx.needs_input_grad[1]:
        grad_features = torch.zeros_like(features, memory_format=torch.contiguous_format)
    total = torch.promote_types(features.dtype, torch.float32)
    cut = tiles_of(embeddings, features, num_points)
    with torch.autocast(features.device.type, enabled=False):
        for of_frames in _by_frames(cut):
            frames = of_frames[0][2]
            # Tiles are added up in float32 at least; where that is the type, in place.
            into = None if grad_features is None else grad_features[frames].flatten(2).to(total)
            for tile in of_frames:
                at = points_of(tile)
                grad_embeddings[tile] = tile_gradient(
                    grad_of(tile, at), embeddings[tile], features[frames], at, into
                ).to(embeddings.dtype)
            if grad_features is not None and into is not None and total != features.dtype:
                grad_features[frames] = into.view(features[frames].shape)
    return (grad_embeddings if ctx.needs_input_grad[0] else None), grad_features


def _by_frames(cut: Iterator[Tile]) -> list[list[Tile]]:
    """Gather the tiles of the same frames; compilers do not see through ``groupby`` by slices."""
    gathered: list[list[Tile]] = []
    for tile in cut:
        if not gathered or gathered[-1][0][2] != tile[2]:
            gathered.append([])
        gathered[-1].append(tile)
    return gathered


def _result_type(embeddings: Tensor, features: Tensor) -> torch.dtype:
    dtype = torch.promote_types(embeddings.dtype, features.dtype)
    return torch.promote_types(dtype, torch.float32)


def _shared_logits(embeddings: Tensor, features: Tensor, points: Tensor) -> Tensor:
    """Sample the features at (T, P, 2), then multiply: (k, T, P)."""
    num_masks, num_frames, channels = embeddings.shape
    dtype = torch.promote_types(embeddings.dtype, features.dtype)
    logits = features.new_empty(
        num_masks, num_frames, points.shape[-2], dtype=_result_type(embeddings, features)
    )
    for t, frame in enumerate(features):
        for part in runs(points.shape[-2], max(channels, num_masks), frame.device):
            sampled = sample_frame(frame, points[t, part]).to(dtype)
            logits[:, t, part] = embeddings[:, t].to(dtype) @ sampled
    return logits
