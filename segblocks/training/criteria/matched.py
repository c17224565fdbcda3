"""Queries that are matched with objects at every prediction, and what they are compared in."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from segblocks.losses import (
    LossSum,
    MaskLosses,
    PointMaskLoss,
    class_cross_entropy,
    class_targets,
)
from segblocks.matching import Match, MatchingCost, linear_assignment
from segblocks.training.criteria.terms import Term


def match_layers(
    matching_cost: MatchingCost,
    embeddings: Tensor,
    features: Tensor,
    masks: Tensor,
    logits: Tensor | None,
    labels: Tensor | None,
    *,
    name: str,
    generator: torch.Generator,
) -> list[Match]:
    """Find a query for each object, at each of L predictions.

    Args:
        matching_cost: of a pair.
        embeddings: of masks, (L, Q, C) or (L, Q, T, C).
        features: (T, C, h, w).
        masks: (O, T, H, W) bool.
        logits: of classes, (L, Q, K + 1), or None.
        labels: (O,) int64, or None.
        name: of the video, for errors.
        generator: of the points at which masks are compared.

    Raises:
        ValueError: a cost is not finite; names the video.
    """
    costs = matching_cost(
        embeddings.flatten(0, 1),
        features,
        masks,
        None if logits is None else logits.flatten(0, 1),
        labels,
        generator=generator,
    )
    costs = costs.unflatten(0, embeddings.shape[:2])
    return linear_assignment(costs, names=[name] * len(embeddings))


def matched_mask_losses(
    mask_loss: PointMaskLoss,
    embeddings: Iterable[Tensor],
    features: Tensor,
    masks: Tensor,
    matches: Sequence[Match],
    *,
    generator: torch.Generator,
) -> MaskLosses:
    """Compare the masks of matched queries with their objects', all predictions at once.

    Args:
        mask_loss: at points.
        embeddings: (Q, C) or (Q, T, C) of each prediction.
        features: (T, C, h, w).
        masks: (O, T, H, W) bool.
        matches: of each prediction.
        generator: of the points.
    """
    return mask_loss(
        torch.cat([layer[m.queries] for layer, m in zip(embeddings, matches, strict=True)]),
        features,
        masks,
        torch.cat([match.targets for match in matches]),
        generator=generator,
    )


def mask_terms(losses: MaskLosses, count: int, *, prefix: str = "") -> list[Term]:
    """Name the losses of masks ``mask`` and ``dice``, to be divided by ``count``.

    Args:
        losses: of all predictions.
        count: of objects, or of objects times frames where each frame is a mask of its own.
        prefix: of the names.
    """
    weight = losses.dice.new_tensor(count)
    return [
        Term(f"{prefix}mask", LossSum(losses.cross_entropy.sum(), weight)),
        Term(f"{prefix}dice", LossSum(losses.dice.sum(), weight)),
    ]


def class_terms(
    logits: Iterable[Tensor],
    labels: Tensor,
    matches: Sequence[Match],
    *,
    no_object_weight: float,
) -> list[Term]:
    """Compare classes; queries without an object are of the last one.

    Args:
        logits: (Q, K + 1) of each prediction.
        labels: (O,) int64.
        matches: of each prediction.
        no_object_weight: of the last class.
    """
    terms = []
    for layer, (scores, match) in enumerate(zip(logits, matches, strict=True)):
        no_object = scores.shape[-1] - 1
        targets = class_targets(len(scores), no_object, match.queries, labels[match.targets])
        loss = class_cross_entropy(scores, targets, no_object_weight=no_object_weight)
        terms.append(Term("class", loss, layer))
    return terms
