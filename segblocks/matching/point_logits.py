"""Mask logits at points, without the mask."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from segblocks.matching.sampling import points_of_frames, sample_frame
from segblocks.matching.tiles import tile_gradient, tile_logits, tiles


def point_logits(
    embeddings: Tensor, features: Tensor, points: Tensor, *, index: Tensor | None = None
) -> Tensor:
    """Compute the inner product of mask embeddings with mask features at points only.

    Equal to sampling ``mask_logits(embeddings, features)`` bilinearly, since sampling and the
    inner product are both linear; the (N, T, h, w) maps in between are never held. Shared points
    sample the features once and multiply those; private ones multiply a few masks of one frame at
    a time. The backward pass computes this anew, so that only inputs and result are stored.

    Args:
        embeddings: (N, C), one a clip, or (N, T, C), one a frame. Those of several predictions may
            be stacked along N: the gradient by the features is then made once and not once each.
        features: (T, C, h, w). Of a batch take ``features.unbind()``: the gradient of an index
            would be as large as the batch for each video.
        points: (P, 2), shared by masks and frames; (T, P, 2), shared by the masks; or
            (M, T, P, 2), several sets.
        index: (N,) int64, the set of points of each mask; by default M is N, each its own.

    Returns:
        (N, T, P), float32 at least. The product itself is computed in the type of its factors.

    Raises:
        ValueError: shapes that do not fit.

    Example:
        >>> embeddings, features = torch.ones(2, 8), torch.ones(3, 8, 4, 5)
        >>> point_logits(embeddings, features, torch.full((1, 2), 0.5)).flatten().tolist()
        [8.0, 8.0, 8.0, 8.0, 8.0, 8.0]
    """
    per_frame = embeddings_of_frames("point_logits", embeddings, features)
    if points.dim() < 4:
        points = points_of_frames("point_logits", points, len(features))
    else:
        check_point_sets("point_logits", points, index, per_frame)
    return _PointLogits.apply(per_frame, features, points, index)


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


def own_points(points: Tensor, index: Tensor | None, part: slice, t: int) -> Tensor:
    """Take the points of some masks on frame ``t``: (n, P, 2)."""
    return points[part, t] if index is None else points[index[part], t]


class _PointLogits(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, embeddings: Tensor, features: Tensor, points: Tensor, index: Tensor | None
    ) -> Tensor:
        ctx.save_for_backward(embeddings, features, points)
        ctx.index = index
        with torch.autocast(features.device.type, enabled=False):
            frames = [
                _frame_logits(embeddings[:, t], features[t], points, index, t)
                for t in range(len(features))
            ]
        return torch.stack(frames, dim=1)

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, grad: Tensor
    ) -> tuple[Tensor | None, Tensor | None, None, None]:
        embeddings, features, points = ctx.saved_tensors
        shared = points.dim() == 3

        def of_part(part: slice, t: int, at: Tensor) -> Tensor:
            return grad[part, t]

        def points_of(part: slice, t: int) -> Tensor:
            return points[t] if shared else own_points(points, ctx.index, part, t)

        grads = gradients(ctx, embeddings, features, points.shape[-2], points_of, of_part)
        return (*grads, None, None)


def gradients(
    ctx: Any, embeddings: Tensor, features: Tensor, num_points: int, points_of: Any, grad_of: Any
) -> tuple[Tensor | None, Tensor | None]:
    """Collect the gradients by embeddings and features, tile by tile.

    Args:
        ctx: of the autograd function, whose first two inputs these are.
        embeddings: (N, T, C).
        features: (T, C, h, w).
        num_points: P.
        points_of: (masks, frame) -> their points.
        grad_of: (masks, frame, points) -> gradient by their logits, (n, P).
    """
    by_features = ctx.needs_input_grad[1]
    grad_embeddings = torch.zeros_like(embeddings, memory_format=torch.contiguous_format)
    grad_features = None
    if by_features:
        grad_features = torch.zeros_like(features, memory_format=torch.contiguous_format)
    pixels = features.shape[-2] * features.shape[-1]
    total = torch.promote_types(features.dtype, torch.float32)
    with torch.autocast(features.device.type, enabled=False):
        for t, frame in enumerate(features):
            # Tiles are added up in float32 at least; where that is the type, in place.
            into = None if grad_features is None else grad_features[t].flatten(1).to(total)
            for part in tiles(len(embeddings), pixels, num_points, frame.device):
                at = points_of(part, t)
                grad_embeddings[part, t] = tile_gradient(
                    grad_of(part, t, at), embeddings[part, t], frame, at, into
                ).to(embeddings.dtype)
            if grad_features is not None and into is not None and into.dtype != features.dtype:
                grad_features[t] = into.view_as(frame)
    return (grad_embeddings if ctx.needs_input_grad[0] else None), grad_features


def _frame_logits(
    embeddings: Tensor, frame: Tensor, points: Tensor, index: Tensor | None, t: int
) -> Tensor:
    num_points = points.shape[-2]
    result = torch.promote_types(torch.promote_types(embeddings.dtype, frame.dtype), torch.float32)
    logits = torch.empty(len(embeddings), num_points, dtype=result, device=frame.device)
    if points.dim() == 4:
        pixels = frame.shape[-2] * frame.shape[-1]
        for part in tiles(len(embeddings), pixels, num_points, frame.device):
            logits[part] = tile_logits(embeddings[part], frame, own_points(points, index, part, t))
        return logits
    dtype = torch.promote_types(embeddings.dtype, frame.dtype)
    for part in tiles(num_points, len(frame), len(embeddings), frame.device):
        sampled = sample_frame(frame, points[t, part]).to(dtype)
        logits[:, part] = embeddings.to(dtype) @ sampled
    return logits
