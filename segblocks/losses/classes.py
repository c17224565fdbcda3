"""Losses on the classes of queries."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from segblocks.losses.loss_sum import LossSum

NO_OBJECT_WEIGHT = 0.1


def class_targets(num_queries: int, no_object: int, queries: Tensor, labels: Tensor) -> Tensor:
    """Say of each query which class it should have.

    Args:
        num_queries: Q.
        no_object: the class of queries that no target was assigned to: K.
        queries: (N,) int64, the matched queries.
        labels: (N,) int64, the classes of their targets.

    Returns:
        (Q,) int64.

    Example:
        >>> class_targets(4, 40, torch.tensor([2, 0]), torch.tensor([7, 3]))
        tensor([ 3, 40,  7, 40])
    """
    targets = torch.full((num_queries,), no_object, dtype=torch.int64, device=queries.device)
    targets[queries] = labels.to(targets)
    return targets


def class_cross_entropy(
    logits: Tensor, targets: Tensor, *, no_object_weight: float = NO_OBJECT_WEIGHT
) -> LossSum:
    """Cross-entropy of the classes of all queries, matched or not (DETR, Mask2Former).

    Args:
        logits: (..., K + 1), no-object last; -inf where a class is not in the vocabulary.
        targets: (...) int64, K for no object.
        no_object_weight: of the queries without object; Mask2Former's and TarViS' default.

    Returns:
        The weighted sum over the queries, and the sum of their weights. ``.mean`` is the loss.

    Raises:
        ValueError: shapes that do not fit.

    Example:
        >>> loss = class_cross_entropy(torch.zeros(3, 5), torch.tensor([0, 4, 4]))
        >>> round(float(loss.mean), 4), round(float(loss.weight), 4)
        (1.6094, 1.2)
    """
    if logits.shape[:-1] != targets.shape:
        raise ValueError(
            f"class_cross_entropy: targets must be {tuple(logits.shape[:-1])}, "
            f"got {tuple(targets.shape)}"
        )
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32)).flatten(0, -2)
    targets = targets.flatten()
    weights = logits.new_ones(logits.shape[-1])
    weights[-1] = no_object_weight
    total = F.cross_entropy(logits, targets, weights, reduction="sum")
    return LossSum(total, weights[targets].sum())


def focal_loss(
    logits: Tensor, targets: Tensor, *, alpha: float | None = 0.25, gamma: float = 2.0
) -> Tensor:
    """Focal loss of independent classes (Lin et al. 2017).

    Args:
        logits: of any shape; where -inf, a class is not in the vocabulary and adds nothing.
        targets: 0 or 1, the same shape.
        alpha: weight of the positives, the negatives have 1 - alpha; None is none. The defaults are
            RetinaNet's; UniVS has 0.5.
        gamma: how far easy entries are played down.

    Returns:
        The loss of each entry, float32 at least. UniVS sums it up and divides by the number of
        targets.

    Raises:
        ValueError: shapes that do not fit.

    Example:
        >>> round(float(focal_loss(torch.zeros(1), torch.ones(1))), 4)
        0.0433
    """
    if logits.shape != targets.shape:
        raise ValueError(
            f"focal_loss: targets must be {tuple(logits.shape)}, got {tuple(targets.shape)}"
        )
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    known = logits != -torch.inf
    logits = logits.where(known, 0)
    targets = targets.to(logits.dtype)
    entropy = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    # The probability of being wrong, from the logit and not as 1 - p, which would round to 0.
    wrong = torch.sigmoid(logits * (1 - 2 * targets))
    loss = wrong**gamma * entropy
    if alpha is not None:
        loss = loss * (alpha * targets + (1 - alpha) * (1 - targets))
    return loss.where(known, 0)
