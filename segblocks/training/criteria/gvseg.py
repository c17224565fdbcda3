"""What GvSeg is trained for."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from segblocks.data.clips import TrainingClip
from segblocks.losses import PointMaskLoss
from segblocks.losses.classes import NO_OBJECT_WEIGHT
from segblocks.losses.temporal_pairs import FarSameId
from segblocks.matching import Match, MatchingCost, seeded_generator
from segblocks.matching.points import NUM_POINTS
from segblocks.nn import ConfidentThings, ShapePositionDescriptor
from segblocks.tasks import CategoryTask
from segblocks.training.criteria.gvseg_classes import ClassMemory
from segblocks.training.criteria.gvseg_contrast import Moment, ObjectContrast
from segblocks.training.criteria.gvseg_targets import Targets, asked_vocabulary, targets_of
from segblocks.training.criteria.matched import (
    class_terms,
    mask_terms,
    match_layers,
    matched_mask_losses,
)
from segblocks.training.criteria.terms import Term, weigh_terms
from segblocks.zoo.gvseg import GvSegOutput

_NAME = "GvSegCriterion"
_GRID = "instance"


class GvSegCriterion(nn.Module):
    """Compare what GvSeg makes of clips with their targets (GvSeg section 3).

    The last frames of a training clip, beyond ``clip_length``, are other moments of its video, each
    segmented by itself and compared with its own targets. In each moment queries of the grid are
    matched with things; queries of classes and of hinted objects have their targets from the start,
    as inference takes it for granted, and what is left has no object. All predictions count
    alike, and each frame of a target is a mask of its own.

    Objects of the clip are contrasted with the queries of the other moments, and classes with those
    of the last steps (GvSeg section 3.1). Queries that match a target are told about the masks that
    they predict, see :meth:`model_options`. A batch may mix tasks and sizes.

    Args:
        vocabulary: of the classes that are contrasted and gathered, the name or the classes of the
            model; needed for VPS and VSS. None is for the other tasks.
        embed_dim: C of the model.
        clip_length: frames of a clip (paper: 3).
        num_points: of each mask and frame, in matching and losses (Mask2Former: 12544).
        mask_weight: of the binary cross-entropy (Mask2Former: 5).
        dice_weight: of the dice loss (Mask2Former: 5).
        class_weight: of the classes (Mask2Former: 2).
        no_object_weight: of queries without an object among the classes (Mask2Former: 0.1).
        contrast_weight: of the contrastive losses (IDOL, CTVIS: 2; the paper does not say).
        auxiliary_weight: of the losses on cosines (IDOL, CTVIS: 3).
        max_change: by how much a descriptor may change for an appearance to be a positive (0.2).
        far_same_id: what the same object is beyond that: "ignore", or "negative" (paper).
        reach: frames within which it is always a positive; 0 in the paper.
        min_area: of a mask at stride 4, in pixels; smaller ones have no descriptor.
        queue_length: entries a class (paper: 100); 0 compares only what a step has.
        max_negatives: of other classes that an entry is compared with.
        unmatched_share: chance that a query without a target is told about its mask as well, where
            inference would tell it.

    Attributes:
        object_contrast: the contrast of objects. Its ``descriptor`` is the recommended one; for a
            model with another, put that one in.
        class_memory: the queues of classes, or None.

    Raises:
        ValueError: an unknown vocabulary, or numbers out of range.

    Example:
        >>> criterion = GvSegCriterion(vocabulary="synthetic", embed_dim=96, num_points=128)
        >>> criterion.class_memory.queues.entries.shape
        torch.Size([20, 100, 96])
    """

    def __init__(
        self,
        *,
        vocabulary: str | tuple[str, ...] | None = None,
        embed_dim: int = 256,
        clip_length: int = 3,
        num_points: int = NUM_POINTS,
        mask_weight: float = 5.0,
        dice_weight: float = 5.0,
        class_weight: float = 2.0,
        no_object_weight: float = NO_OBJECT_WEIGHT,
        contrast_weight: float = 2.0,
        auxiliary_weight: float = 3.0,
        max_change: float = 0.2,
        far_same_id: FarSameId = "ignore",
        reach: int = 1,
        min_area: int = 64,
        queue_length: int = 100,
        max_negatives: int = 512,
        unmatched_share: float = 0.0,
    ) -> None:
        super().__init__()
        if clip_length < 1 or not 0 <= unmatched_share <= 1:
            raise ValueError(
                f"{_NAME}: clip_length must be at least 1 and unmatched_share in [0, 1], "
                f"got {clip_length} and {unmatched_share}"
            )
        self.clip_length = clip_length
        self.no_object_weight = no_object_weight
        self.unmatched_share = unmatched_share
        self.weights = {"mask": mask_weight, "dice": dice_weight, "class": class_weight}
        for kind in ("object", "class"):
            self.weights[f"{kind}_contrast"] = contrast_weight
            self.weights[f"{kind}_auxiliary"] = auxiliary_weight
        self.matching_cost = MatchingCost(
            class_weight=class_weight,
            mask_weight=mask_weight,
            dice_weight=dice_weight,
            num_points=num_points,
        )
        self.mask_loss = PointMaskLoss(num_points=num_points)
        self.object_contrast = ObjectContrast(
            ShapePositionDescriptor(embed_dim),
            max_change=max_change,
            far_same_id=far_same_id,
            reach=reach,
            min_area=min_area,
        )
        self.class_memory: ClassMemory | None = None
        if vocabulary is not None:
            self.class_memory = ClassMemory(
                vocabulary, embed_dim, length=queue_length, max_negatives=max_negatives
            )

    def forward(
        self, outputs: Sequence[GvSegOutput], clips: Sequence[TrainingClip]
    ) -> dict[str, Tensor]:
        """Compute the weighted losses of a batch.

        Args:
            outputs: of ``GvSeg.forward_clips`` with :meth:`model_options`, one a clip.
            clips: the clips, on the same device.

        Returns:
            Scalars whose sum is the loss: ``mask``, ``dice``, ``class``; ``object_contrast`` and
            ``object_auxiliary`` where a clip with objects has other moments; ``class_contrast`` and
            ``class_auxiliary`` where a clip is of VPS or VSS.

        Raises:
            ValueError: a cost of the matching is not finite, targets are not those of the task, or
                there is no vocabulary for classes; names the video.
        """
        terms: list[Term] = []
        moments: list[list[Moment]] = []
        for output, clip in zip(outputs, clips, strict=True):
            generator = seeded_generator(*clip.seed, device=output.mask_features.device)
            moments.append([])
            for part in (output, *output.references):
                moment, of_moment = self._compare(part, clip, generator)
                terms += of_moment
                moments[-1].append(moment)
            if output.references and len(clip.masks):
                found = self.object_contrast(moments[-1], clip)
                terms += [Term(f"object_{name}", loss) for name, loss in found.items()]
        if self.class_memory is not None:
            found = self.class_memory(moments, clips)
            terms += [Term(f"class_{name}", loss) for name, loss in found.items()]
        num_layers = max(len(output.predictions) for output in outputs)
        # Weights of classes can add up to less than one target (official of Mask2Former).
        return weigh_terms(terms, self.weights, num_layers, least={"class": self.no_object_weight})

    def model_options(self, clips: Sequence[TrainingClip]) -> dict[str, Any]:
        """Return what ``forward_clips`` is called with for clips of one size.

        Args:
            clips: of the same number of frames.

        Returns:
            ``references``, how many frames are no part of the clips, and ``selections``, by which
            queries that match a target are told about the masks that they predict.
        """
        return {
            "references": max(0, len(clips[0].frames) - self.clip_length),
            "selections": [partial(self._select, clip) for clip in clips],
        }

    def after_update(self, model: nn.Module) -> None:
        """Remember the classes of a step that is over; all processes come here together."""
        if self.class_memory is not None:
            self.class_memory.after_update(model)

    @torch.no_grad()
    def _select(self, clip: TrainingClip, output: GvSegOutput) -> Tensor:
        """Which queries of the latest prediction are told about their masks, (1, Q)."""
        features = output.mask_features
        generator = seeded_generator(*clip.seed, "selection", device=features.device)
        targets = targets_of(clip, output)
        (match,) = self._match(output, targets, clip, generator)
        queries = match.queries[targets.visible[match.targets]]
        latest = output.predictions[-1]
        chosen = torch.zeros(latest.queries.shape[:2], dtype=torch.bool, device=features.device)
        chosen[0, queries] = True
        if self.unmatched_share:
            drawn = torch.rand(chosen.shape, generator=generator, device=chosen.device)
            confident = ConfidentThings(_things(clip))(latest)
            chosen = chosen | (confident & (drawn < self.unmatched_share))
        return chosen

    def _compare(
        self, output: GvSegOutput, clip: TrainingClip, generator: torch.Generator
    ) -> tuple[Moment, list[Term]]:
        """Match some frames with their targets, and compare masks and classes."""
        if self.class_memory is None and "semantic" in output.groups:
            raise ValueError(
                f"{_NAME}: vocabulary must be that of the model for {clip.task}, which clip "
                f"{clip.name!r} asks for, got None"
            )
        targets = targets_of(clip, output)
        matches = self._match(output, targets, clip, generator)
        losses = matched_mask_losses(
            self.mask_loss,
            [p.mask_embeddings[0] for p in output.predictions],
            output.mask_features[0],
            targets.masks,
            matches,
            generator=generator,
        )
        terms = mask_terms(losses, targets.masks.shape[0] * targets.masks.shape[1])
        terms += class_terms(
            [p.class_logits[0] for p in output.predictions if p.class_logits is not None],
            targets.labels,
            matches,
            no_object_weight=self.no_object_weight,
        )
        return Moment(output, targets, matches[-1]), terms

    def _match(
        self,
        output: GvSegOutput,
        targets: Targets,
        clip: TrainingClip,
        generator: torch.Generator,
    ) -> list[Match]:
        """Find a query for each target, at each prediction."""
        num_free, num_layers = targets.num_free, len(output.predictions)
        rest = torch.arange(num_free, len(targets.masks), device=targets.labels.device)
        found = [Match(rest[:0], rest[:0])] * num_layers
        if num_free:
            part = output.groups[_GRID]
            embeddings = torch.cat([p.mask_embeddings[:, part] for p in output.predictions])
            logits = [p.class_logits[:, part] for p in output.predictions]  # type: ignore[index]
            found = match_layers(
                self.matching_cost,
                embeddings,
                output.mask_features[0],
                targets.masks[:num_free],
                torch.cat(logits),
                targets.labels[:num_free],
                name=clip.name,
                generator=generator,
            )
            found = [Match(match.queries + part.start, match.targets) for match in found]
        return [
            Match(torch.cat((m.queries, targets.queries)), torch.cat((m.targets, rest)))
            for m in found
        ]


def _things(clip: TrainingClip) -> list[bool]:
    """Which classes of a clip's logits are things; hints have one class, of what is hinted."""
    if not isinstance(clip.tasks[0], CategoryTask):
        return [True]
    vocabulary = asked_vocabulary(clip)
    return [vocabulary.is_thing(c) for c in range(len(vocabulary))]
