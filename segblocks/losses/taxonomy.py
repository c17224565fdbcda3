"""Losses on the taxonomy of a clip: what is in it, and what queries make of it (TMT-VIS)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segblocks.losses.classes import NO_OBJECT_WEIGHT, class_cross_entropy, class_targets
from segblocks.losses.loss_sum import LossSum
from segblocks.matching.costs import MatchingCost
from segblocks.matching.hungarian import Match, linear_assignment


def presence_loss(logits: Tensor, present: Tensor) -> LossSum:
    """Binary cross-entropy of the compiler's scores with the classes that a clip shows.

    This loss is ours. In TMT-VIS the scores choose the best classes and do nothing else, so that
    neither the paper's loss nor the published code gives the score's linear layer a gradient: it
    stays as it was drawn. Leave this loss out, or give it a weight of 0, for the paper to the
    letter.

    Args:
        logits: (..., K), the scores before their sigmoid; where -inf, a class is not in the
            vocabulary and adds nothing.
        present: (..., K) bool, the classes of the objects in the clip.

    Returns:
        The sum over classes, and their number. ``.mean`` is the loss.

    Raises:
        ValueError: shapes that do not fit, or ``present`` that is not boolean.

    Example:
        >>> loss = presence_loss(torch.tensor([0.0, 0.0, -torch.inf]),
        ...                      torch.tensor([True, False, False]))
        >>> round(float(loss.mean), 4), float(loss.weight)
        (0.6931, 2.0)
    """
    if logits.shape != present.shape or present.dtype != torch.bool:
        raise ValueError(
            f"presence_loss: present must be boolean {tuple(logits.shape)}, "
            f"got {tuple(present.shape)} {present.dtype}"
        )
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    known = logits != -torch.inf
    each = F.binary_cross_entropy_with_logits(
        logits.where(known, 0), present.to(logits), reduction="none"
    )
    return LossSum(each.where(known, 0).sum(), known.sum().to(logits))


class TaxonomyMatchingLoss(nn.Module):
    """Ask that queries know their classes right after the injection (TMT-VIS section 3.4).

    The predictions after each injection are matched with the targets anew, at the same costs as
    any prediction, and the cross-entropy of their classes is the loss; their masks have none.
    TMT-VIS adds the losses of its nine injections up, with a weight of 0.5 (a quarter of what the
    classes of ordinary predictions have).

    Args:
        cost: of the matching; ``MatchingCost(mask_weight=0, dice_weight=0)`` matches by classes
            alone.
        no_object_weight: of the queries without object.

    Example:
        >>> loss = TaxonomyMatchingLoss(MatchingCost(num_points=16))
        >>> embeddings, class_logits = torch.zeros(9, 5, 8), torch.zeros(9, 5, 41)
        >>> masks = torch.ones(2, 3, 16, 16, dtype=torch.bool)
        >>> sums = loss(embeddings, torch.zeros(3, 8, 4, 4), masks, class_logits,
        ...             torch.tensor([3, 7]))
        >>> len(sums), round(float(sum(s.mean for s in sums)), 1)
        (9, 33.4)
    """

    def __init__(
        self, cost: MatchingCost | None = None, *, no_object_weight: float = NO_OBJECT_WEIGHT
    ) -> None:
        super().__init__()
        self.cost = cost if cost is not None else MatchingCost()
        self.no_object_weight = no_object_weight

    def forward(
        self,
        embeddings: Tensor,
        features: Tensor,
        masks: Tensor,
        class_logits: Tensor,
        labels: Tensor,
        *,
        matches: Sequence[Match] | None = None,
        generator: torch.Generator | None = None,
        name: str = "0",
    ) -> tuple[LossSum, ...]:
        """Compute the losses of one video.

        Args:
            embeddings: (L, Q, C) or (L, Q, T, C), the mask embeddings after each injection.
            features: (T, C, h, w).
            masks: (O, T, H, W).
            class_logits: (L, Q, K + 1), no-object last; -inf where a class is not in the
                vocabulary.
            labels: (O,) int64.
            matches: L of them, to be used instead of new ones.
            generator: draws the points of the matching.
            name: of the video, for errors.

        Returns:
            One loss an injection.

        Raises:
            ValueError: shapes that do not fit, or costs that are not numbers.
        """
        layers, queries = class_logits.shape[:2]
        if embeddings.shape[:2] != (layers, queries):
            raise ValueError(
                f"TaxonomyMatchingLoss: embeddings must be of {layers} predictions of {queries} "
                f"queries, as the class_logits, got {tuple(embeddings.shape)}"
            )
        if matches is None:
            costs = self.cost(
                embeddings.flatten(0, 1),
                features,
                masks,
                class_logits.flatten(0, 1),
                labels,
                generator=generator,
            ).unflatten(0, (layers, queries))
            matches = linear_assignment(costs, names=[name] * layers)
        elif len(matches) != layers:
            raise ValueError(
                f"TaxonomyMatchingLoss: matches must be as many as the {layers} predictions, "
                f"got {len(matches)}"
            )
        no_object = class_logits.shape[-1] - 1
        return tuple(
            class_cross_entropy(
                logits,
                class_targets(queries, no_object, match.queries, labels[match.targets]),
                no_object_weight=self.no_object_weight,
            )
            for logits, match in zip(class_logits, matches, strict=True)
        )
