"""What UniVS is trained for."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segblocks.data.clips import TrainingClip
from segblocks.data.sample import IGNORE
from segblocks.losses import (
    LossSum,
    PointMaskLoss,
    SemanticPointLoss,
    focal_loss,
    hardest_pairs_losses,
)
from segblocks.losses.reidentification import ReidentificationLosses
from segblocks.matching import MatchingCost, seeded_generator
from segblocks.matching.points import NUM_POINTS
from segblocks.nn import ClipOutput
from segblocks.training.criteria.matched import match_layers
from segblocks.training.criteria.terms import Term, as_padded, terms_of_layers, weigh_terms
from segblocks.training.criteria.univs_streams import (
    Stream,
    class_logits_of,
    compare,
    flat,
    identities,
    labels_of,
    looks_of,
    pairs_of,
    per_frame,
    prompt_streams,
)
from segblocks.training.univs_prompts import with_entities

_IMPORTANCE = 0.5
_FOCAL_ALPHA = 0.5


class UniVSCriterion(nn.Module):
    """Compare what UniVS makes of clips with their targets (UniVS section 4.1 and its code).

    Learnable queries are matched with the targets at each prediction anew; prompts know theirs.
    Both are compared by masks, classes and by how well objects are recognised in other frames, and
    learnable queries with prompts by the latter too. Where a clip has prompts, what both streams
    have is halved. Prompts of classes are also compared with each other, pixel by pixel.

    Sums and their divisors are kept apart and the divisors averaged over the processes, see
    :class:`~segblocks.training.criteria.TarViSCriterion`. The numbers that say "official" are those
    of the code; the paper has none.

    Args:
        num_points: of each mask and frame, in matching and losses (official: 12544).
        mask_weight: of the binary cross-entropy (official: 5).
        dice_weight: of the dice loss (official: 5).
        class_weight: of the classes (official: 5).
        matching_class_weight: of the classes in the matching (official: 3).
        reid_weight: of recognising objects (official: 0.5 with ResNet-50, 0.25 with Swin, half of
            that in the third stage).
        between_clips_weight: of recognising objects in other clips of a video, where a batch has
            several (official: as ``reid_weight`` of the third stage).
        merge_repeated: several sentences about one object are one target for learnable queries; in
            the official code two of these have to find the same mask.

    Example:
        >>> UniVSCriterion(num_points=128).weights["prompt_mask"]
        5.0
    """

    def __init__(
        self,
        *,
        num_points: int = NUM_POINTS,
        mask_weight: float = 5.0,
        dice_weight: float = 5.0,
        class_weight: float = 5.0,
        matching_class_weight: float = 3.0,
        reid_weight: float = 0.5,
        between_clips_weight: float = 0.25,
        merge_repeated: bool = True,
    ) -> None:
        super().__init__()
        self.merge_repeated = merge_repeated
        both = {
            "mask": mask_weight,
            "dice": dice_weight,
            "class": class_weight,
            "reid": reid_weight,
            "reid_auxiliary": reid_weight,
        }
        self.weights = {
            **both,
            **{f"prompt_{name}": weight for name, weight in both.items()},
            "prompt_semantic": mask_weight,
            "across": reid_weight,
            "across_auxiliary": reid_weight,
            "between_clips": between_clips_weight,
            "between_clips_auxiliary": between_clips_weight,
        }
        self.matching_cost = MatchingCost(
            class_weight=matching_class_weight,
            mask_weight=mask_weight,
            dice_weight=dice_weight,
            num_points=num_points,
            probability=sharp_probability,
        )
        self.mask_loss = PointMaskLoss(num_points=num_points, importance=_IMPORTANCE)
        self.semantic_loss = SemanticPointLoss(num_points, importance=_IMPORTANCE)

    def forward(
        self,
        outputs: Sequence[ClipOutput],
        clips: Sequence[TrainingClip],
        *,
        videos: Sequence[int] | None = None,
    ) -> dict[str, Tensor]:
        """Compute the weighted losses of a batch.

        Args:
            outputs: of ``UniVS.forward_clips``, one a clip.
            clips: the clips, on the same device; ``rows`` of a ``PromptedClip`` say which target an
                object of its hints is.
            videos: a number for each clip; those of one video have the same, and the same targets.
                None where every clip is of its own.

        Returns:
            Scalars whose sum is the loss: ``mask``, ``dice``, ``class``, ``reid`` and
            ``reid_auxiliary`` of learnable queries, the same of prompts with ``prompt_`` before it,
            ``prompt_semantic``, ``across`` (both streams), ``between_clips``; those that the tasks
            have.

        Raises:
            ValueError: a cost of the matching is not finite, or targets are not those of the tasks;
                names the video.
        """
        terms: list[Term] = []
        found: dict[int, list[Stream]] = {}
        for n, (output, clip) in enumerate(zip(outputs, clips, strict=True)):
            generator = seeded_generator(*clip.seed, device=output.mask_features.device)
            of_clip, stream = self.clip_terms(output, with_entities(clip), generator)
            terms += of_clip
            found.setdefault(n if videos is None else videos[n], []).append(stream)
        for streams in found.values():
            if len(streams) > 1:
                terms += self._between_clips(streams)
        num_layers = max(len(output.predictions) for output in outputs)
        return weigh_terms(terms, self.weights, num_layers)

    def clip_terms(
        self, output: ClipOutput, clip: TrainingClip, generator: torch.Generator
    ) -> tuple[list[Term], Stream]:
        """Return the losses of one clip before they are divided, and its learnable queries."""
        features = output.mask_features[0]
        masks = as_padded(clip.masks, features, fill=False)
        learnable = self._learnable(output, clip, masks, generator)
        masks, prompts = prompt_streams(output, clip, masks)
        share = 0.5 if prompts else 1.0
        part = output.groups["learnable"]
        terms = self._stream_terms("", learnable, features, masks, share, generator)
        terms += self._class_terms("", learnable, class_logits_of(output, part), share)
        for prompt in prompts:
            terms += self._stream_terms("prompt_", prompt, features, masks, share, generator)
            terms += self._class_terms("prompt_", prompt, prompt.logits, share)
            terms += _reid_terms("across", compare(learnable, prompt, generator), prompt)
        if "category" in output.groups:
            truth = masks[prompts[-1].rows[0]]
            terms += self._semantic_terms(prompts[-1], features, truth, share, generator)
        return terms, learnable

    def _learnable(
        self, output: ClipOutput, clip: TrainingClip, masks: Tensor, generator: torch.Generator
    ) -> Stream:
        """Match the learnable queries with what the clip shows."""
        part = output.groups["learnable"]
        embeddings = torch.cat([p.mask_embeddings[:, part] for p in output.predictions])
        logits = class_logits_of(output, part)
        labels = labels_of(clip, logits)
        there = masks.flatten(1).any(dim=1).nonzero()[:, 0]
        ids = identities(masks)
        if self.merge_repeated and labels is None:
            there = there[ids[there] == there]
        matches = match_layers(
            self.matching_cost,
            embeddings,
            output.mask_features[0],
            masks[there],
            None if labels is None else logits,
            None if labels is None else labels[there],
            name=clip.name,
            generator=generator,
        )
        queries = torch.stack([match.queries for match in matches])
        rows = there[torch.stack([match.targets for match in matches])]
        looks = looks_of(output, part)
        layers = torch.arange(len(queries), device=queries.device)[:, None]
        return Stream(
            embeddings[layers, queries],
            None if looks is None else looks[layers, queries],
            None if logits is None else logits[layers, queries],
            rows,
            ids[rows],
            None if labels is None else labels[rows],
            masks.flatten(2).any(dim=2)[rows],
        )

    def _stream_terms(
        self,
        prefix: str,
        stream: Stream,
        features: Tensor,
        masks: Tensor,
        share: float,
        generator: torch.Generator,
    ) -> list[Term]:
        """Losses of masks, and of recognising objects within the stream."""
        _, count, frames = stream.masks.shape[:3]
        losses = self.mask_loss(
            stream.masks.flatten(0, 1), features, masks, stream.rows.flatten(), generator=generator
        )
        # Each frame of a target is a mask of its own.
        weight = losses.dice.new_tensor(count * frames)
        terms = [
            Term(f"{prefix}mask", LossSum(share * losses.cross_entropy.sum(), weight)),
            Term(f"{prefix}dice", LossSum(share * losses.dice.sum(), weight)),
        ]
        found = compare(stream, stream, generator, same=True)
        return terms + _reid_terms(f"{prefix}reid", found, stream, share)

    def _class_terms(
        self, prefix: str, stream: Stream, logits: Tensor | None, share: float
    ) -> list[Term]:
        """Losses of classes: those of all queries one by one, and of those with a target together.

        Args:
            prefix: of the name.
            stream: the queries with a target.
            logits: of all queries, (L, Q, K).
            share: of the stream.
        """
        if logits is None or stream.classes is None or stream.logits is None:
            return []
        wanted = F.one_hot(stream.classes, logits.shape[-1]).to(logits.dtype)
        positive = focal_loss(stream.logits, wanted, alpha=_FOCAL_ALPHA)
        negative = focal_loss(stream.logits, torch.zeros_like(wanted), alpha=_FOCAL_ALPHA)
        all_negative = focal_loss(logits, torch.zeros_like(logits), alpha=_FOCAL_ALPHA)
        entropy = F.cross_entropy(
            stream.logits.flatten(0, 1), stream.classes.flatten(), reduction="sum"
        )
        total = all_negative.sum() - negative.sum() + positive.sum() + entropy
        weight = total.new_tensor(stream.classes.shape[1])
        return [Term(f"{prefix}class", LossSum(share * total, weight))]

    def _semantic_terms(
        self,
        stream: Stream,
        features: Tensor,
        masks: Tensor,
        share: float,
        generator: torch.Generator,
    ) -> list[Term]:
        """Losses of the pixels of classes that are asked for, each of which has one of them."""
        if len(masks) < 2:
            return []
        truth = masks.to(torch.uint8).argmax(dim=0).masked_fill(~masks.any(dim=0), IGNORE)
        losses = self.semantic_loss(stream.masks, features, truth, generator=generator)
        return terms_of_layers("prompt_semantic", losses.cross_entropy, share=share)

    def _between_clips(self, streams: Sequence[Stream]) -> list[Term]:
        """Losses of recognising objects in the clips of a video, but for the first prediction."""
        if any(stream.looks is None for stream in streams):
            return []
        looks = torch.cat([flat(s.looks) for s in streams if s.looks is not None], dim=1)[1:]
        ids = torch.cat([per_frame(s.ids, s) for s in streams], dim=1)[1:]
        shown = torch.cat([s.shown.flatten(1) for s in streams], dim=1)[1:]
        positives, pairs = pairs_of(ids, ids, shown, shown, same=True)
        losses = hardest_pairs_losses(looks, positives, pairs)
        terms = []
        for name, loss in zip(("", "_auxiliary"), losses, strict=True):
            terms += [
                Term(f"between_clips{name}", LossSum(total, weight), layer + 1)
                for layer, (total, weight) in enumerate(zip(*loss, strict=True))
            ]
        return terms


def sharp_probability(logits: Tensor) -> Tensor:
    """The probability of a class in the matching: a softmax of 5 * sigmoid (official).

    Example:
        >>> sharp_probability(torch.zeros(1, 4))
        tensor([[0.2500, 0.2500, 0.2500, 0.2500]])
    """
    return (5 * logits.sigmoid()).softmax(dim=-1)


def _reid_terms(
    name: str, losses: ReidentificationLosses | None, stream: Stream, share: float = 1.0
) -> list[Term]:
    """Terms of each prediction; classes that are asked for have no auxiliary one (official)."""
    if losses is None:
        return []
    of_classes = bool(stream.ids.numel()) and name == "across" and bool((stream.ids < 0).all())
    named = {name: losses.contrast}
    if not of_classes:
        named[f"{name}_auxiliary"] = losses.auxiliary
    return [
        Term(each, LossSum(share * total, weight), layer)
        for each, loss in named.items()
        for layer, (total, weight) in enumerate(zip(*loss, strict=True))
    ]
