"""What TMT-VIS is trained for."""

from __future__ import annotations

import torch

from segblocks.data.clips import TrainingClip
from segblocks.losses import TaxonomyMatchingLoss, presence_loss
from segblocks.losses.classes import NO_OBJECT_WEIGHT
from segblocks.matching import seeded_generator
from segblocks.matching.points import NUM_POINTS
from segblocks.nn import ClipOutput
from segblocks.training.criteria.mask2former_vis import (
    Mask2FormerVISCriterion,
    labels_of,
    stacked,
)
from segblocks.training.criteria.terms import Term, as_padded


class TMTVISCriterion(Mask2FormerVISCriterion):
    """The losses of Mask2Former-VIS, and those on the taxonomy (TMT-VIS section 3.4).

    Args:
        num_points: of each mask and frame, in matching and losses (12544).
        mask_weight: of the binary cross-entropy (5).
        dice_weight: of the dice loss (5).
        class_weight: of the classes (2).
        taxonomy_weight: of the classes right after each injection (0.5); 0 leaves them out.
        presence_weight: of the scores by which classes are selected. Ours, since the paper gives
            them no loss and so no gradient; 0 leaves it out, see
            :func:`~segblocks.losses.presence_loss`.
        no_object_weight: of queries without an object among the classes (0.1).

    Example:
        >>> TMTVISCriterion(presence_weight=0.0).weights["taxonomy"]
        0.5
    """

    def __init__(
        self,
        *,
        num_points: int = NUM_POINTS,
        mask_weight: float = 5.0,
        dice_weight: float = 5.0,
        class_weight: float = 2.0,
        taxonomy_weight: float = 0.5,
        presence_weight: float = 1.0,
        no_object_weight: float = NO_OBJECT_WEIGHT,
    ) -> None:
        super().__init__(
            num_points=num_points,
            mask_weight=mask_weight,
            dice_weight=dice_weight,
            class_weight=class_weight,
            no_object_weight=no_object_weight,
        )
        self.weights |= {"taxonomy": taxonomy_weight, "presence": presence_weight}
        self.least_divisors["taxonomy"] = no_object_weight
        self.taxonomy_loss = TaxonomyMatchingLoss(
            self.matching_cost, no_object_weight=no_object_weight
        )

    def clip_terms(self, output: ClipOutput, clip: TrainingClip) -> list[Term]:
        """Return the losses of one clip before they are divided."""
        terms = super().clip_terms(output, clip)
        labels = labels_of(type(self).__name__, clip)
        injected = [p for p in output.predictions if p.name == "taxonomy"]
        if injected and self.weights["taxonomy"]:
            features = output.mask_features[0]
            embeddings, logits = stacked(injected, output)
            losses = self.taxonomy_loss(
                embeddings,
                features,
                as_padded(clip.masks, features, fill=False),
                logits,
                labels,
                generator=seeded_generator(*clip.seed, "taxonomy", device=features.device),
                name=clip.name,
            )
            terms += [Term("taxonomy", loss, layer) for layer, loss in enumerate(losses)]
        taxonomy = getattr(output, "taxonomy", None)
        if taxonomy is not None and self.weights["presence"]:
            present = torch.zeros_like(taxonomy.logits[0], dtype=torch.bool)
            present[labels] = True
            terms.append(Term("presence", presence_loss(taxonomy.logits[0], present)))
        return terms
