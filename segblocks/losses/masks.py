"""Cross-entropy and dice of masks, at points where the prediction is unsure."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from segblocks.losses.point_sums import PointSums, point_sums
from segblocks.matching.point_logits import embeddings_of_frames, point_logits
from segblocks.matching.points import IMPORTANCE, NUM_POINTS, OVERSAMPLE, importance_points

Over = Literal["frame", "clip"]
# Masks whose candidate points are drawn at once: there are three times as many as points.
_DRAWN_AT_ONCE = 8
_DRAWN_AT_ONCE_CUDA = 32


class MaskLosses(NamedTuple):
    """Losses of N masks, each (N,); their sum over the masks is the loss of Mask2Former."""

    cross_entropy: Tensor
    dice: Tensor


def losses_from_sums(
    sums: PointSums, num_points: int, *, over: Over = "frame", normalizer: float | Tensor = 1.0
) -> MaskLosses:
    """Make the two mask losses from sums over points.

    Args:
        sums: of (N, T) masks and frames.
        num_points: P, of each mask and frame.
        over: "frame" makes each frame a mask of its own and adds the frames up, as Mask2Former,
            TarViS and UniVS do; "clip" takes the T * P points of a mask together (VITA).
        normalizer: what the losses are divided by.

    Returns:
        Cross-entropy, mean over points, and ``1 - (2 |a b| + 1) / (|a| + |b| + 1)``.

    Raises:
        ValueError: another ``over``.

    Example:
        >>> sums = PointSums(*torch.tensor([8.0, 4.0, 4.0, 4.0]).view(4, 1, 1))
        >>> [float(loss) for loss in losses_from_sums(sums, 8)]
        [1.0, 0.0]
    """
    if over == "clip":
        num_points = num_points * sums.target.shape[1]
        sums = PointSums(*(values.sum(1, keepdim=True) for values in sums))
    elif over != "frame":
        raise ValueError(f"losses_from_sums: over must be 'frame' or 'clip', got {over!r}")
    cross_entropy = sums.cross_entropy / num_points
    dice = 1 - (2 * sums.overlap + 1) / (sums.probability + sums.target + 1)
    return MaskLosses(cross_entropy.sum(1) / normalizer, dice.sum(1) / normalizer)


@torch.no_grad()
def uncertain_points(
    embeddings: Tensor,
    features: Tensor,
    num_points: int = NUM_POINTS,
    *,
    oversample: float = OVERSAMPLE,
    importance: float = IMPORTANCE,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Draw points for each mask and frame, more of them where the logit is close to 0.

    Args:
        embeddings: (N, C) or (N, T, C).
        features: (T, C, h, w).
        num_points: P.
        oversample: candidates a point.
        importance: share of the points chosen among the candidates.
        generator: draws them.

    Returns:
        (N, T, P, 2), float32.

    Example:
        >>> uncertain_points(torch.zeros(2, 8), torch.zeros(3, 8, 4, 4), 16).shape
        torch.Size([2, 3, 16, 2])
    """
    embeddings = embeddings_of_frames("uncertain_points", embeddings, features)
    shape = (*embeddings.shape[:2], num_points, 2)
    points = torch.empty(shape, device=features.device)
    step = _DRAWN_AT_ONCE_CUDA if features.is_cuda else _DRAWN_AT_ONCE
    for start in range(0, len(embeddings), step):
        few = embeddings[start : start + step]
        points[start : start + step] = importance_points(
            lambda at, few=few: -point_logits(few, features, at).abs(),
            (len(few), shape[1]),
            num_points,
            oversample=oversample,
            importance=importance,
            generator=generator,
            device=features.device,
        )
    return points


def point_mask_losses(
    embeddings: Tensor,
    features: Tensor,
    masks: Tensor,
    index: Tensor,
    *,
    num_points: int = NUM_POINTS,
    oversample: float = OVERSAMPLE,
    importance: float = IMPORTANCE,
    over: Over = "frame",
    normalizer: float | Tensor = 1.0,
    points: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> MaskLosses:
    """Compare predicted masks with their targets at points (PointRend, Mask2Former section 3.3).

    No mask of all pixels is held, in either direction. Frames where the object is absent count:
    there the target is empty.

    Args:
        embeddings: (N, C) or (N, T, C), of matched queries. Those of several predictions are best
            stacked along N: one gradient by the features is made then, not one a prediction.
        features: (T, C, h, w), of one video; of a batch take ``features.unbind()``.
        masks: (O, T, H, W), bool or in [0, 1], of any resolution.
        index: (N,) int64, the target of each embedding.
        num_points: P, of each mask and frame; Mask2Former's default.
        oversample: candidates a point; PointRend's default.
        importance: share of points chosen by uncertainty; Mask2Former's default, 0.5 in UniVS.
        over: "frame" or "clip", see :func:`losses_from_sums`.
        normalizer: Mask2Former-VIS divides by the number of targets, TarViS and UniVS by targets
            times T; both mean over the processes and at least 1.
        points: (N, T, P, 2) to be used instead of drawn ones.
        generator: draws the points.

    Returns:
        Cross-entropy and dice of each embedding, (N,), float32 at least.

    Raises:
        ValueError: shapes that do not fit.

    Example:
        >>> masks = torch.ones(2, 3, 16, 16, dtype=torch.bool)
        >>> losses = point_mask_losses(torch.zeros(2, 8), torch.zeros(3, 8, 4, 4), masks,
        ...                            torch.tensor([0, 1]), num_points=16, normalizer=2 * 3)
        >>> round(float(losses.cross_entropy.sum()), 4)
        0.6931
    """
    embeddings = embeddings_of_frames("point_mask_losses", embeddings, features)
    if points is None:
        points = uncertain_points(
            embeddings,
            features,
            num_points,
            oversample=oversample,
            importance=importance,
            generator=generator,
        )
    sums = point_sums(embeddings, features, points, masks, index)
    return losses_from_sums(sums, points.shape[-2], over=over, normalizer=normalizer)


class PointMaskLoss(nn.Module):
    """:func:`point_mask_losses` with its settings.

    Args:
        num_points: P.
        oversample: candidates a point.
        importance: share of points chosen by uncertainty.
        over: "frame" or "clip".

    Example:
        >>> masks = torch.ones(1, 3, 16, 16, dtype=torch.bool)
        >>> loss = PointMaskLoss(num_points=16, importance=0.5)
        >>> loss(torch.zeros(1, 8), torch.zeros(3, 8, 4, 4), masks, torch.tensor([0])).dice.shape
        torch.Size([1])
    """

    def __init__(
        self,
        *,
        num_points: int = NUM_POINTS,
        oversample: float = OVERSAMPLE,
        importance: float = IMPORTANCE,
        over: Over = "frame",
    ) -> None:
        super().__init__()
        self.num_points = num_points
        self.oversample = oversample
        self.importance = importance
        self.over: Over = over

    def forward(
        self,
        embeddings: Tensor,
        features: Tensor,
        masks: Tensor,
        index: Tensor,
        *,
        normalizer: float | Tensor = 1.0,
        generator: torch.Generator | None = None,
    ) -> MaskLosses:
        """Compute the losses of one video; the arguments are those of the function."""
        return point_mask_losses(
            embeddings,
            features,
            masks,
            index,
            num_points=self.num_points,
            oversample=self.oversample,
            importance=self.importance,
            over=self.over,
            normalizer=normalizer,
            generator=generator,
        )
