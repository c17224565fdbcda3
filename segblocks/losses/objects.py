"""Losses on the masks of hinted objects, each of which several queries stand for (TarViS)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from segblocks.losses.group_logits import group_logits
from segblocks.losses.masks import MaskLosses, Over, losses_from_sums
from segblocks.losses.point_sums import sums_of_logits
from segblocks.matching.point_logits import embeddings_of_frames
from segblocks.matching.points import IMPORTANCE, NUM_POINTS, OVERSAMPLE, importance_points
from segblocks.matching.sampling import sample_maps


def with_background(masks: Tensor) -> Tensor:
    """Append what belongs to no object as one more target.

    Args:
        masks: (O, T, H, W), bool; O may be 0.

    Returns:
        (O + 1, T, H, W), bool, the background last.

    Raises:
        ValueError: masks that are not boolean.

    Example:
        >>> with_background(torch.tensor([[[[True, False]]]])).squeeze()
        tensor([[ True, False],
                [False,  True]])
    """
    if masks.dtype != torch.bool or masks.dim() != 4:
        raise ValueError(
            f"with_background: masks must be boolean (O, T, H, W), "
            f"got {tuple(masks.shape)} {masks.dtype}"
        )
    return torch.cat((masks, ~masks.any(dim=0, keepdim=True)))


def object_mask_losses(
    embeddings: Tensor,
    features: Tensor,
    masks: Tensor,
    groups: Sequence[slice],
    *,
    index: Tensor | None = None,
    num_points: int = NUM_POINTS,
    oversample: float = OVERSAMPLE,
    importance: float = IMPORTANCE,
    over: Over = "frame",
    normalizer: float | Tensor = 1.0,
    official_compat: bool = False,
    points: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> MaskLosses:
    """Compare the masks of hinted objects and of the background with their targets.

    The mask of an object is the maximum over its queries, and the background is one more object
    with queries of its own (TarViS section 3.4). Nothing is matched or classified.

    Args:
        embeddings: (Q, C) or (Q, T, C).
        features: (T, C, h, w), of one video.
        masks: (O, T, H, W), the targets; with background: :func:`with_background`.
        groups: M slices of the query axis, the queries of each target. With the predictions of
            several layers stacked along Q there are M = layers * O of them.
        index: (M,) int64, the target of each group; by default the targets in order.
        num_points: P, of each target and frame; TarViS' default.
        oversample: candidates a point.
        importance: share of points chosen by uncertainty.
        over: "frame" or "clip".
        normalizer: TarViS takes the mean over targets, background included, and frames: O * T.
        official_compat: take the maximum of whole maps and then sample, as the official code; see
            :func:`segblocks.losses.group_logits.group_logits`.
        points: (M, T, P, 2) to be used instead of drawn ones.
        generator: draws the points.

    Returns:
        Cross-entropy and dice of each group, (M,), float32 at least.

    Raises:
        ValueError: as many groups as targets are needed where there is no index, an empty group,
            or shapes that do not fit.

    Example:
        >>> masks = with_background(torch.ones(1, 3, 16, 16, dtype=torch.bool))
        >>> losses = object_mask_losses(torch.zeros(6, 8), torch.zeros(3, 8, 4, 4), masks,
        ...     [slice(0, 4), slice(4, 6)], num_points=16, normalizer=2 * 3)
        >>> round(float(losses.cross_entropy.sum()), 4)
        0.6931
    """
    embeddings = embeddings_of_frames("object_mask_losses", embeddings, features)
    if index is None:
        index = torch.arange(len(masks), device=features.device)
    if index.shape != (len(groups),):
        raise ValueError(
            f"object_mask_losses: groups must be as many as the {len(index)} targets, "
            f"got {len(groups)}"
        )
    if not len(groups):
        none = embeddings.sum() * 0 + features.flatten()[:0].sum()
        return MaskLosses(none.expand(0), none.expand(0))

    def logits_at(at: Tensor) -> Tensor:
        return group_logits(embeddings, features, groups, at, official_compat=official_compat)

    if points is None:
        points = importance_points(
            lambda at: -logits_at(at).abs(),
            (len(groups), len(features)),
            num_points,
            oversample=oversample,
            importance=importance,
            generator=generator,
            device=features.device,
        )
    targets = sample_maps(masks, points, index)
    sums = sums_of_logits(logits_at(points), targets)
    return losses_from_sums(sums, points.shape[-2], over=over, normalizer=normalizer)
