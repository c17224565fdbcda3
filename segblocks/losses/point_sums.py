"""Sums over points from which the mask losses follow, and their gradient, without the points."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from segblocks.matching.point_logits import (
    check_point_sets,
    embeddings_of_frames,
    gradients,
    points_of_tile,
    tiles_of,
)
from segblocks.matching.sampling import sample_frames
from segblocks.matching.tiles import Tile, tile_logits


class PointSums(NamedTuple):
    """Sums over the points of each mask and frame, all (N, T).

    Args:
        cross_entropy: binary cross-entropy of logit and target.
        overlap: probability times target.
        probability: of the prediction.
        target: of the truth; without gradient.
    """

    cross_entropy: Tensor
    overlap: Tensor
    probability: Tensor
    target: Tensor


def point_sums(
    embeddings: Tensor, features: Tensor, points: Tensor, masks: Tensor, index: Tensor
) -> PointSums:
    """Sum up what the mask losses need, at points of each mask's own.

    Logits and targets at the points are made a few masks at a time and made anew for the gradient;
    what is stored between is the points.

    Args:
        embeddings: (N, T, C).
        features: (T, C, h, w).
        points: (N, T, P, 2).
        masks: (O, T, H, W), bool or in [0, 1].
        index: (N,) int64, the target of each embedding.

    Returns:
        The sums, float32 at least.

    Raises:
        ValueError: shapes that do not fit.

    Example:
        >>> masks = torch.ones(1, 3, 8, 8, dtype=torch.bool)
        >>> sums = point_sums(torch.zeros(2, 3, 5), torch.ones(3, 5, 2, 2),
        ...                   torch.full((2, 3, 4, 2), 0.5), masks, torch.tensor([0, 0]))
        >>> sums.overlap.tolist()[0]
        [2.0, 2.0, 2.0]
    """
    embeddings = embeddings_of_frames("point_sums", embeddings, features)
    check_point_sets("point_sums", points, None, embeddings)
    if masks.dim() != 4 or masks.shape[1] != len(features):
        raise ValueError(
            f"point_sums: masks must be (O, {len(features)}, H, W), got {tuple(masks.shape)}"
        )
    if index.shape != (len(embeddings),):
        raise ValueError(
            f"point_sums: index must be ({len(embeddings)},), got {tuple(index.shape)}"
        )
    masks = masks.contiguous()
    return PointSums(*_PointSums.apply(embeddings, features, points, masks, index))


def sums_of_logits(logits: Tensor, targets: Tensor) -> PointSums:
    """Sum up what the mask losses need from logits and targets at points, both (N, T, P).

    Example:
        >>> sums_of_logits(torch.zeros(2, 3, 4), torch.ones(2, 3, 4)).overlap.shape
        torch.Size([2, 3])
    """
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    targets = targets.to(logits.dtype)
    probability = logits.sigmoid()
    cross_entropy = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    return PointSums(
        cross_entropy.sum(-1), (probability * targets).sum(-1), probability.sum(-1), targets.sum(-1)
    )


class _PointSums(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        embeddings: Tensor,
        features: Tensor,
        points: Tensor,
        masks: Tensor,
        index: Tensor,
    ) -> tuple[Tensor, ...]:
        ctx.save_for_backward(embeddings, features, points, masks, index)
        dtype = torch.promote_types(embeddings.dtype, features.dtype)
        dtype = torch.promote_types(dtype, torch.float32)
        sums = torch.zeros(4, *embeddings.shape[:2], dtype=dtype, device=features.device)
        # Each mask is a set of one, with points of its own.
        sets = embeddings[:, None]
        with torch.autocast(features.device.type, enabled=False):
            for tile in tiles_of(sets, features, points.shape[-2]):
                at, (part, _, frames) = points_of_tile(points, None, tile), tile
                logits = tile_logits(sets[tile], features[frames], at)[:, 0]
                targets = sample_frames(masks, frames, at, index[part])
                for total, values in zip(sums, sums_of_logits(logits, targets), strict=True):
                    total[part, frames] = values
        result = sums.unbind()
        ctx.mark_non_differentiable(result[3])
        return result

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *grads: Tensor
    ) -> tuple[Tensor | None, ...]:
        embeddings, features, points, masks, index = ctx.saved_tensors
        sets = embeddings[:, None]
        of_entropy, of_overlap, of_probability = (grad[:, None, :, None] for grad in grads[:3])

        def points_of(tile: Tile) -> Tensor:
            return points_of_tile(points, None, tile)

        def grad_of(tile: Tile, at: Tensor) -> Tensor:
            part, _, frames = tile
            probability = tile_logits(sets[tile], features[frames], at).sigmoid_()
            targets = sample_frames(masks, frames, at, index[part])[:, None].to(probability.dtype)
            slope = probability * (1 - probability)
            by_dice = (of_overlap[tile] * targets + of_probability[tile]) * slope
            return by_dice + of_entropy[tile] * (probability - targets)

        by_sets, by_features = gradients(ctx, sets, features, points.shape[-2], points_of, grad_of)
        by_embeddings = None if by_sets is None else by_sets[:, 0]
        return by_embeddings, by_features, None, None, None
