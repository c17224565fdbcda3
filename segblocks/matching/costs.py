"""What it costs to match a query with a target (Mask2Former section 3.3)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segblocks.matching.point_logits import embeddings_of_frames
from segblocks.matching.points import NUM_POINTS, uniform_points
from segblocks.matching.sampling import points_of_frames, sample_frame
from segblocks.matching.tiles import runs

softmax = partial(torch.softmax, dim=-1)


@torch.no_grad()
def class_cost(
    logits: Tensor, labels: Tensor, *, probability: Callable[[Tensor], Tensor] = softmax
) -> Tensor:
    """Cost of a class: minus its probability.

    Args:
        logits: (Q, K) or (Q, K + 1); -inf where a class is not in the vocabulary.
        labels: (O,) int64, the class of each target.
        probability: logits -> probabilities. UniVS: softmax of 5 * sigmoid.

    Returns:
        (Q, O), float32 at least.

    Example:
        >>> class_cost(torch.zeros(3, 4), torch.tensor([0, 2])).tolist()[0]
        [-0.25, -0.25]
    """
    with torch.autocast(logits.device.type, enabled=False):
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        return -probability(logits)[:, labels]


@torch.no_grad()
def mask_costs(
    embeddings: Tensor, features: Tensor, masks: Tensor, points: Tensor
) -> tuple[Tensor, Tensor]:
    """Costs of a mask, over all frames of the clip together: cross-entropy and dice.

    The features are sampled a few points at a time and then multiplied, and both costs are sums
    over points, so that neither the masks of all queries nor all their samples are held.

    Args:
        embeddings: (Q, C) or (Q, T, C). Those of several predictions may be stacked along Q.
        features: (T, C, h, w).
        masks: (O, T, H, W), bool or in [0, 1], of any resolution.
        points: (P, 2), shared by queries, targets and frames as in Mask2Former, or (T, P, 2).

    Returns:
        Two (Q, O), float32 at least: the binary cross-entropy, mean over T * P points, and
        ``1 - (2 |a b| + 1) / (|a| + |b| + 1)``.

    Raises:
        ValueError: shapes that do not fit.

    Example:
        >>> masks = torch.ones(1, 2, 8, 8, dtype=torch.bool)
        >>> points = torch.full((4, 2), 0.5)
        >>> bce, dice = mask_costs(torch.zeros(3, 5), torch.ones(2, 5, 2, 2), masks, points)
        >>> bce.shape, round(float(bce[0, 0]), 4)
        (torch.Size([3, 1]), 0.6931)
    """
    embeddings = embeddings_of_frames("mask_costs", embeddings, features)
    if masks.dim() != 4 or masks.shape[1] != len(features):
        raise ValueError(
            f"mask_costs: masks must be (O, {len(features)}, H, W), got {tuple(masks.shape)}"
        )
    points = points_of_frames("mask_costs", points, len(features))
    num_points = points.shape[1]
    dtype = torch.promote_types(embeddings.dtype, features.dtype)
    total = torch.promote_types(dtype, torch.float32)
    pairs = torch.zeros(2, len(embeddings), len(masks), dtype=total, device=features.device)
    of_queries = torch.zeros(2, len(embeddings), dtype=total, device=features.device)
    of_targets = torch.zeros(len(masks), dtype=total, device=features.device)
    with torch.autocast(features.device.type, enabled=False):
        for t, frame in enumerate(features):
            targets = sample_frame(masks[:, t], points[t]).to(total)
            of_targets += targets.sum(1)
            for part in runs(num_points, max(len(frame), len(embeddings)), frame.device):
                at = points[t, part]
                sampled = sample_frame(frame, at).to(dtype)
                logits = (embeddings[:, t].to(dtype) @ sampled).to(total)
                truth = targets[:, part]
                of_queries[0] += F.softplus(logits).sum(1)
                pairs[0] += logits @ truth.T
                logits.sigmoid_()
                of_queries[1] += logits.sum(1)
                pairs[1] += logits @ truth.T
    bce = (of_queries[0][:, None] - pairs[0]) / (len(features) * num_points)
    dice = 1 - (2 * pairs[1] + 1) / (of_queries[1][:, None] + of_targets + 1)
    return bce, dice


class MatchingCost(nn.Module):
    """Weighted sum of the costs of class, cross-entropy and dice.

    Args:
        class_weight: 2 in Mask2Former, TarViS and TMT-VIS, 3 in UniVS.
        mask_weight: of the cross-entropy; 5 in all of them.
        dice_weight: 5 in all of them.
        num_points: P, drawn uniformly once a call; Mask2Former's default.
        probability: class logits -> probabilities.

    Example:
        >>> cost = MatchingCost(num_points=16)
        >>> masks = torch.ones(2, 3, 16, 16, dtype=torch.bool)
        >>> cost(torch.zeros(5, 8), torch.zeros(3, 8, 4, 4), masks,
        ...      torch.zeros(5, 41), torch.tensor([3, 7])).shape
        torch.Size([5, 2])
    """

    def __init__(
        self,
        *,
        class_weight: float = 2.0,
        mask_weight: float = 5.0,
        dice_weight: float = 5.0,
        num_points: int = NUM_POINTS,
        probability: Callable[[Tensor], Tensor] = softmax,
    ) -> None:
        super().__init__()
        self.class_weight = class_weight
        self.mask_weight = mask_weight
        self.dice_weight = dice_weight
        self.num_points = num_points
        self.probability = probability

    def forward(
        self,
        embeddings: Tensor,
        features: Tensor,
        masks: Tensor,
        class_logits: Tensor | None = None,
        labels: Tensor | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Compute (Q, O) of one video, from what :func:`mask_costs` and :func:`class_cost` take.

        Args:
            embeddings: (Q, C) or (Q, T, C).
            features: (T, C, h, w).
            masks: (O, T, H, W).
            class_logits: (Q, K[+1]), or None where targets have no class.
            labels: (O,) int64, or None.
            generator: draws the points.

        Raises:
            ValueError: class logits without labels or the reverse, or shapes that do not fit.
        """
        if (class_logits is None) != (labels is None):
            raise ValueError("MatchingCost: class_logits and labels must be given together")
        points = uniform_points((), self.num_points, generator=generator, device=features.device)
        bce, dice = mask_costs(embeddings, features, masks, points)
        cost = self.mask_weight * bce + self.dice_weight * dice
        if class_logits is not None and labels is not None:
            of_class = class_cost(class_logits, labels, probability=self.probability)
            cost = cost + self.class_weight * of_class
        return cost
