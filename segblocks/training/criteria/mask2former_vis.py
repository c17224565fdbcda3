"""What Mask2Former-VIS is trained for."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from segblocks.data.clips import TrainingClip
from segblocks.losses import PointMaskLoss
from segblocks.losses.classes import NO_OBJECT_WEIGHT
from segblocks.matching import MatchingCost, seeded_generator
from segblocks.matching.points import NUM_POINTS
from segblocks.nn import ClipOutput, Prediction
from segblocks.training.criteria.matched import (
    class_terms,
    mask_terms,
    match_layers,
    matched_mask_losses,
)
from segblocks.training.criteria.terms import Term, as_padded, weigh_terms

GROUP = "instance"


class Mask2FormerVISCriterion(nn.Module):
    """Match queries with objects and compare masks and classes (Mask2Former section 3.3).

    Each prediction of the decoder is matched anew, and all count alike. Masks are divided by the
    number of objects and not of frames, so that they weigh more in longer clips, as in the
    official code. A batch may mix vocabularies and sizes.

    Args:
        num_points: of each mask and frame, in matching and losses (official: 12544).
        mask_weight: of the binary cross-entropy (official: 5).
        dice_weight: of the dice loss (official: 5).
        class_weight: of the classes (official: 2).
        no_object_weight: of queries without an object among the classes (official: 0.1).

    Example:
        >>> Mask2FormerVISCriterion(num_points=128).matching_cost.num_points
        128
    """

    def __init__(
        self,
        *,
        num_points: int = NUM_POINTS,
        mask_weight: float = 5.0,
        dice_weight: float = 5.0,
        class_weight: float = 2.0,
        no_object_weight: float = NO_OBJECT_WEIGHT,
    ) -> None:
        super().__init__()
        self.no_object_weight = no_object_weight
        self.weights = {"mask": mask_weight, "dice": dice_weight, "class": class_weight}
        # Divisors below one target (official); the weights of classes can add up to less.
        self.least_divisors = {"class": no_object_weight}
        self.matching_cost = MatchingCost(
            class_weight=class_weight,
            mask_weight=mask_weight,
            dice_weight=dice_weight,
            num_points=num_points,
        )
        self.mask_loss = PointMaskLoss(num_points=num_points)

    def forward(
        self, outputs: Sequence[ClipOutput], clips: Sequence[TrainingClip]
    ) -> dict[str, Tensor]:
        """Compute the weighted losses of a batch.

        Args:
            outputs: of the model's ``forward_clips``, one a clip.
            clips: the clips, on the same device.

        Returns:
            Scalars whose sum is the loss: ``mask``, ``dice``, ``class``.

        Raises:
            ValueError: a clip without classes, or a cost of the matching that is not finite; names
                the video.
        """
        terms: list[Term] = []
        for output, clip in zip(outputs, clips, strict=True):
            terms += self.clip_terms(output, clip)
        num_layers = max(len(output.predictions) for output in outputs)
        return weigh_terms(terms, self.weights, num_layers, least=self.least_divisors)

    def clip_terms(self, output: ClipOutput, clip: TrainingClip) -> list[Term]:
        """Return the losses of one clip before they are divided."""
        labels = labels_of(type(self).__name__, clip)
        predictions = [p for p in output.predictions if p.name == "prediction"]
        features = output.mask_features[0]
        masks = as_padded(clip.masks, features, fill=False)
        embeddings, logits = stacked(predictions, output)
        generator = seeded_generator(*clip.seed, device=features.device)
        matches = match_layers(
            self.matching_cost,
            embeddings,
            features,
            masks,
            logits,
            labels,
            name=clip.name,
            generator=generator,
        )
        losses = matched_mask_losses(
            self.mask_loss, embeddings, features, masks, matches, generator=generator
        )
        return mask_terms(losses, len(masks)) + class_terms(
            logits, labels, matches, no_object_weight=self.no_object_weight
        )


def labels_of(criterion: str, clip: TrainingClip) -> Tensor:
    """Return the classes of a clip's objects, (O,).

    Raises:
        ValueError: it has none.
    """
    if clip.labels is None:
        raise ValueError(f"{criterion}: clip {clip.name!r} has no labels for {clip.task}")
    return clip.labels


def stacked(predictions: Sequence[Prediction], output: ClipOutput) -> tuple[Tensor, Tensor]:
    """Stack predictions of one clip: mask embeddings (L, Q, C) and class logits (L, Q, K + 1)."""
    part = output.groups[GROUP]
    logits = [p.class_logits for p in predictions if p.class_logits is not None]
    return torch.cat([p.mask_embeddings[:, part] for p in predictions]), torch.cat(logits)
