"""What TarViS is trained for."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise

import torch
from torch import Tensor, nn

from segblocks.data.clips import TrainingClip
from segblocks.data.sample import IGNORE
from segblocks.losses import (
    PointMaskLoss,
    SemanticPointLoss,
    object_mask_losses,
    with_background,
)
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
from segblocks.training.criteria.terms import Term, as_padded, terms_of_layers, weigh_terms


class TarViSCriterion(nn.Module):
    """Compare what TarViS makes of clips with their targets (TarViS section 3.4 and its code).

    VIS and VPS match instance queries with things and compare masks and classes; semantic queries
    are compared as a map of classes, in VIS with the background as one class more, and in VPS where
    pixels have a label. VOS and PET compare the mask of each hinted object, and of what is none of
    them. All predictions of the decoder count alike. A batch may mix tasks and sizes.

    Sums and their divisors are kept apart and the divisors averaged over the processes, so
    that several processes have, after the mean of their gradients, that of one with all clips.

    Args:
        num_points: of each mask and frame, in matching and losses (official: 12544).
        semantic_points: of each frame for the classes of VPS (official: 25088 in pretraining, 50176
            in finetuning); VIS takes ``num_points``.
        mask_weight: of the binary cross-entropy (official: 5).
        dice_weight: of the dice loss (official: 5).
        class_weight: of the classes of queries (official: 2).
        semantic_weight: of the classes of pixels (official: 2; Swin-L 0.75 in pretraining and 1 in
            finetuning).
        no_object_weight: of queries without an object among the classes (official: 0.1).
        regularization: of the norm of the semantic logits (official: 1e-3 in finetuning Swin-L).
        ignore_null_classes: leave out classes that no point has (official: pretraining of Swin-L).
        official_compat: take the maximum over an object's queries of whole maps, see
            ``docs/losses.md``.

    Example:
        >>> criterion = TarViSCriterion(num_points=128, semantic_points=256)
        >>> criterion.matching_cost.num_points
        128
    """

    def __init__(
        self,
        *,
        num_points: int = NUM_POINTS,
        semantic_points: int = 4 * NUM_POINTS,
        mask_weight: float = 5.0,
        dice_weight: float = 5.0,
        class_weight: float = 2.0,
        semantic_weight: float = 2.0,
        no_object_weight: float = NO_OBJECT_WEIGHT,
        regularization: float = 0.0,
        ignore_null_classes: bool = False,
        official_compat: bool = False,
    ) -> None:
        super().__init__()
        self.num_points = num_points
        self.no_object_weight = no_object_weight
        self.official_compat = official_compat
        self.weights = {
            "mask": mask_weight,
            "dice": dice_weight,
            "class": class_weight,
            "semantic": semantic_weight,
            "regularization": regularization,
            "object_mask": mask_weight,
            "object_dice": dice_weight,
        }
        self.matching_cost = MatchingCost(
            class_weight=class_weight,
            mask_weight=mask_weight,
            dice_weight=dice_weight,
            num_points=num_points,
        )
        self.mask_loss = PointMaskLoss(num_points=num_points)
        self.semantic_losses = {
            task: SemanticPointLoss(
                points, ignore_null_classes=ignore_null_classes, official_compat=official_compat
            )
            for task, points in {"vis": num_points, "vps": semantic_points}.items()
        }

    def forward(
        self, outputs: Sequence[ClipOutput], clips: Sequence[TrainingClip]
    ) -> dict[str, Tensor]:
        """Compute the weighted losses of a batch.

        Args:
            outputs: of ``TarViS.forward_clips``, one a clip.
            clips: the clips, on the same device.

        Returns:
            Scalars whose sum is the loss: ``mask``, ``dice``, ``class``, ``semantic`` (and
            ``regularization``) where the batch has VIS or VPS clips, ``object_mask`` and
            ``object_dice`` where it has VOS or PET clips.

        Raises:
            ValueError: a cost of the matching is not finite, or targets are not those of the tasks;
                names the video.
        """
        terms: list[Term] = []
        for output, clip in zip(outputs, clips, strict=True):
            generator = seeded_generator(*clip.seed, device=output.mask_features.device)
            if "instance" in output.groups:
                terms += self._category_terms(output, clip, generator)
            if output.object_slices:
                terms += self._object_terms(output, clip, generator)
        return self._weighted(terms, len(outputs[0].predictions))

    def _category_terms(
        self, output: ClipOutput, clip: TrainingClip, generator: torch.Generator
    ) -> list[Term]:
        """Losses of VIS or VPS, all predictions of the decoder at once where they can be."""
        if clip.labels is None:
            raise ValueError(f"TarViSCriterion: clip {clip.name!r} has no labels for {clip.task}")
        features = output.mask_features[0]
        masks = as_padded(clip.masks, features, fill=False)
        embeddings = _of_group(output, "instance")
        logits = torch.cat([_class_logits(prediction) for prediction in output.predictions])
        matches = match_layers(
            self.matching_cost,
            embeddings,
            features,
            masks,
            logits,
            clip.labels,
            name=clip.name,
            generator=generator,
        )
        losses = matched_mask_losses(
            self.mask_loss, embeddings, features, masks, matches, generator=generator
        )
        terms = mask_terms(losses, masks.shape[0] * masks.shape[1])
        if "semantic" in output.groups:
            terms += self._semantic_terms(output, clip, masks, clip.labels, generator)
        return terms + class_terms(
            logits, clip.labels, matches, no_object_weight=self.no_object_weight
        )

    def _semantic_terms(
        self,
        output: ClipOutput,
        clip: TrainingClip,
        masks: Tensor,
        labels: Tensor,
        generator: torch.Generator,
    ) -> list[Term]:
        features = output.mask_features[0]
        classes = _of_group(output, "semantic")
        background = _of_group(output, "background") if clip.task == "vis" else None
        if clip.task == "vis":
            truth = _painted(masks, clip, labels, classes.shape[1])
        elif clip.semantic is None:
            raise ValueError(f"TarViSCriterion: clip {clip.name!r} has no semantic map for vps")
        else:
            truth = as_padded(clip.semantic, features, fill=IGNORE)
        losses = self.semantic_losses[clip.task](
            _in_frames(classes, features),
            features,
            truth,
            background=None if background is None else _in_frames(background, features),
            generator=generator,
        )
        terms = terms_of_layers("semantic", losses.cross_entropy)
        if self.weights["regularization"]:
            terms += terms_of_layers("regularization", losses.regularization)
        return terms

    def _object_terms(
        self, output: ClipOutput, clip: TrainingClip, generator: torch.Generator
    ) -> list[Term]:
        """Losses of VOS and PET; the background comes after the objects."""
        if len(clip.masks) != len(output.object_slices):
            raise ValueError(
                f"TarViSCriterion: clip {clip.name!r} has {len(clip.masks)} targets for "
                f"{len(output.object_slices)} hinted objects"
            )
        features = output.mask_features[0]
        masks = as_padded(clip.masks, features, fill=False)
        groups = list(output.object_slices)
        background = output.groups["object_background"]
        if background.stop > background.start:
            masks = with_background(masks)
            groups.append(background)
        embeddings = torch.cat([prediction.mask_embeddings[0] for prediction in output.predictions])
        num_layers = len(output.predictions)
        num_queries = len(embeddings) // num_layers
        members = [list(range(*group.indices(num_queries))) for group in groups]
        order = [q + num_queries * n for n in range(num_layers) for group in members for q in group]
        sizes = [len(group) for group in members] * num_layers
        losses = object_mask_losses(
            embeddings[torch.tensor(order, device=embeddings.device)],
            features,
            masks,
            _runs(sizes),
            index=torch.arange(len(masks), device=features.device).repeat(num_layers),
            num_points=self.num_points,
            official_compat=self.official_compat,
            generator=generator,
        )
        return mask_terms(losses, masks.shape[0] * masks.shape[1], prefix="object_")

    def _weighted(self, terms: Sequence[Term], num_layers: int) -> dict[str, Tensor]:
        if not terms:
            raise ValueError("TarViSCriterion: no clip asks for anything")
        # Weights of classes can add up to less than one target, the least of all others (official).
        least = {"class": self.no_object_weight}
        return weigh_terms(terms, self.weights, num_layers, least=least)


def _of_group(output: ClipOutput, group: str) -> Tensor:
    """The mask embeddings of a group at each prediction, (layers, q, C)."""
    part = output.groups[group]
    return torch.cat([prediction.mask_embeddings[:, part] for prediction in output.predictions])


def _in_frames(embeddings: Tensor, features: Tensor) -> Tensor:
    """From (layers, q, C) to (layers, q, T, C)."""
    return embeddings[:, :, None].expand(-1, -1, len(features), -1)


def _class_logits(prediction: Prediction) -> Tensor:
    if prediction.class_logits is None:
        raise ValueError("TarViSCriterion: the model predicts no classes")
    return prediction.class_logits


def _painted(masks: Tensor, clip: TrainingClip, labels: Tensor, background: int) -> Tensor:
    """The map of classes of VIS, (T, H, W): smaller things lie over larger ones."""
    # Ranks by size from 0 on; what no thing covers has the rank after the last.
    order = masks.sum(dim=(1, 2, 3)).argsort(stable=True)
    ranks = order.argsort().to(torch.int16)[:, None, None, None]
    nothing = masks.new_full((1, *masks.shape[1:]), len(masks), dtype=torch.int16)
    smallest = torch.cat((ranks.where(masks, len(masks)), nothing)).amin(dim=0)
    painted = torch.cat((labels[order], labels.new_tensor([background])))[smallest.long()]
    if clip.ignore is not None:
        height, width = clip.ignore.shape[-2:]
        painted[:, :height, :width][clip.ignore & ~masks.any(dim=0)[:, :height, :width]] = IGNORE
    return painted


def _runs(sizes: Sequence[int]) -> list[slice]:
    """Slices that follow each other."""
    ends = list(accumulate(sizes, initial=0))
    return [slice(start, stop) for start, stop in pairwise(ends)]
