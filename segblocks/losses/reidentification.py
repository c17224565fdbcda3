"""Losses by which a query is recognised in other frames, in prompts, and in other clips."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from segblocks.losses.loss_sum import LossSum

MAX_KEYS = 20
POSITIVE_SHARE = 0.75
MAX_EXPONENT = 10.0


class ReidentificationLosses(NamedTuple):
    """Sums over anchors and over pairs, and their numbers, each of the leading dimensions.

    Args:
        contrast: over the anchors that have a positive.
        auxiliary: over the pairs.
    """

    contrast: LossSum
    auxiliary: LossSum


def reidentification_losses(
    anchors: Tensor,
    keys: Tensor,
    positives: Tensor,
    pairs: Tensor,
    *,
    max_keys: int = MAX_KEYS,
    positive_share: float = POSITIVE_SHARE,
    max_exponent: float = MAX_EXPONENT,
    generator: torch.Generator | None = None,
) -> ReidentificationLosses:
    """Compare queries of an object with those of others (UniVS, official code).

    ``log(1 + sum exp(s- - s+))`` over the negatives of an anchor, and over two of its positives:
    the first one, and the mean of all; similarities are inner products over sqrt(C). Beside it, the
    cosine of a pair, where it is above 0, is drawn to 1 or to 0 by a smooth L1 loss.

    Args:
        anchors: (..., A, C).
        keys: (..., K, C).
        positives: (..., A, K) bool.
        pairs: (..., A, K) bool, those that count; an anchor and itself do not.
        max_keys: that are drawn from all.
        positive_share: of them that are drawn from the keys that some anchor has as a positive.
        max_exponent: limit of each exponent.
        generator: draws the keys, on its own device.

    Raises:
        ValueError: shapes or types that do not fit.

    Example:
        >>> x = torch.eye(2)
        >>> losses = reidentification_losses(x, x, torch.eye(2).bool(), torch.ones(2, 2).bool())
        >>> round(float(losses.contrast.mean), 4), float(losses.auxiliary.mean)
        (0.6862, 0.0)
    """
    shape = (*anchors.shape[:-1], keys.shape[-2])
    for name, mask in {"positives": positives, "pairs": pairs}.items():
        if mask.dtype != torch.bool or mask.shape != shape:
            raise ValueError(
                f"reidentification_losses: {name} must be bool {tuple(shape)}, "
                f"got {tuple(mask.shape)} {mask.dtype}"
            )
    pairs = pairs & _draw_keys(positives & pairs, pairs, max_keys, positive_share, generator)
    positives = positives & pairs
    anchors, keys = _full(anchors), _full(keys)
    similarity = inner_products(anchors, keys) / math.sqrt(anchors.shape[-1])
    count = positives.sum(dim=-1)
    first = similarity.gather(-1, positives.to(torch.uint8).argmax(dim=-1, keepdim=True))
    mean = (similarity * positives).sum(dim=-1, keepdim=True) / count.clamp(min=1)[..., None]
    each = contrast_of(
        torch.cat((first, mean), dim=-1), similarity, pairs & ~positives, max_exponent
    )
    has_positive = count > 0
    contrast = LossSum((each * has_positive).sum(dim=-1), has_positive.sum(dim=-1))
    cosine = inner_products(F.normalize(anchors, dim=-1), F.normalize(keys, dim=-1)).clamp(min=0)
    apart = F.smooth_l1_loss(cosine, positives.to(cosine.dtype), reduction="none")
    auxiliary = LossSum((apart * pairs).sum(dim=(-2, -1)), pairs.sum(dim=(-2, -1)))
    return ReidentificationLosses(contrast, auxiliary)


def hardest_pairs_losses(
    embeddings: Tensor,
    positives: Tensor,
    pairs: Tensor,
    *,
    num_positives: int = 3,
    num_negatives: int = 30,
    max_exponent: float = MAX_EXPONENT,
) -> ReidentificationLosses:
    """Compare queries over the clips of a video, by the pairs that are hardest (UniVS, stage 3).

    Args:
        embeddings: (..., A, C), of all clips.
        positives: (..., A, A) bool.
        pairs: (..., A, A) bool, those that count.
        num_positives: of an anchor, those least like it.
        num_negatives: of an anchor, those most like it.
        max_exponent: limit of each exponent.

    Example:
        >>> same = torch.tensor([[False, True], [True, False]])
        >>> losses = hardest_pairs_losses(torch.ones(2, 4), same, same)
        >>> float(losses.contrast.total), int(losses.contrast.weight)
        (0.0, 2)
    """
    embeddings = _full(embeddings)
    similarity = inner_products(embeddings, embeddings) / math.sqrt(embeddings.shape[-1])
    positives = positives & pairs
    negatives = pairs & ~positives
    nearest, near = _hardest(similarity, negatives, num_negatives)
    farthest, far = _hardest(-similarity, positives, num_positives)
    each = contrast_of(-farthest, nearest, near, max_exponent, far)
    has_positive = positives.any(dim=-1)
    contrast = LossSum((each * has_positive).sum(dim=-1), has_positive.sum(dim=-1))
    unit = F.normalize(embeddings, dim=-1)
    cosine = inner_products(unit, unit).clamp(min=0)
    apart = F.smooth_l1_loss(cosine, positives.to(cosine.dtype), reduction="none")
    auxiliary = LossSum((apart * pairs).sum(dim=(-2, -1)), pairs.sum(dim=(-2, -1)))
    return ReidentificationLosses(contrast, auxiliary)


def contrast_of(
    positives: Tensor,
    others: Tensor,
    negatives: Tensor,
    max_exponent: float,
    counted: Tensor | None = None,
) -> Tensor:
    """``log(1 + sum sum exp(s- - s+))`` of each anchor.

    Args:
        positives: (..., A, P), similarities.
        others: (..., A, K), similarities.
        negatives: (..., A, K) bool, which of ``others`` are negatives.
        max_exponent: limit of each exponent.
        counted: (..., A, P) bool, the positives that there are; None for all.

    Returns:
        (..., A).
    """
    exponents = (others[..., None, :] - positives[..., :, None]).clamp(max=max_exponent)
    each = exponents.exp() * negatives[..., None, :]
    if counted is not None:
        each = each * counted[..., :, None]
    return each.sum(dim=(-2, -1)).log1p()


def inner_products(a: Tensor, b: Tensor) -> Tensor:
    """Multiply (..., A, C) with (..., K, C), without autocast."""
    with torch.autocast(a.device.type, enabled=False):
        return a @ b.mT


@torch.no_grad()
def _draw_keys(
    positives: Tensor,
    pairs: Tensor,
    most: int,
    share: float,
    generator: torch.Generator | None,
) -> Tensor:
    """Which keys take part, (..., 1, K)."""
    with_positive, there = positives.any(dim=-2), pairs.any(dim=-2)
    if there.shape[-1] <= min(round(most * share), most - round(most * share)):
        return there[..., None, :]
    device = there.device if generator is None else generator.device
    chance = torch.rand(there.shape, generator=generator, device=device).to(there.device)
    count = round(most * share)
    chosen = _some(with_positive, chance, count) | _some(
        there & ~with_positive, chance, most - count
    )
    return chosen[..., None, :]


def _some(candidates: Tensor, chance: Tensor, count: int) -> Tensor:
    order = chance.masked_fill(~candidates, -1.0).argsort(dim=-1, descending=True)
    return candidates & (order.argsort(dim=-1) < count)


def _hardest(similarity: Tensor, candidates: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The greatest similarities (..., A, n) of the candidates, and which of them there are."""
    count = min(count, similarity.shape[-1])
    with torch.no_grad():
        lowered = similarity.masked_fill(~candidates, -torch.inf)
        index = lowered.topk(count, dim=-1).indices
    return similarity.gather(-1, index), candidates.gather(-1, index)


def _full(values: Tensor) -> Tensor:
    return values.to(torch.promote_types(values.dtype, torch.float32))
