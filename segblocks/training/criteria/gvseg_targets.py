"""What GvSeg should predict in a clip, or in another moment of its video."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from segblocks.data.clips import TrainingClip
from segblocks.data.sample import IGNORE
from segblocks.nn import ClipOutput
from segblocks.tasks import CategoryTask
from segblocks.text import Vocabulary
from segblocks.training.criteria.terms import as_padded


class Targets(NamedTuple):
    """What some frames show; N of them, those that any query may find first.

    Args:
        masks: (N, T, H, W) bool, of padded frames.
        labels: (N,) int64, columns of the class logits.
        ids: (N,) int64, the object of the clip; -1 for classes of stuff.
        visible: (N,) bool; only hinted objects may be out of sight.
        queries: (n,) int64, the queries that the last n targets belong to, whatever they predict.
    """

    masks: Tensor
    labels: Tensor
    ids: Tensor
    visible: Tensor
    queries: Tensor

    @property
    def num_free(self) -> int:
        """How many targets any query of things may find."""
        return len(self.masks) - len(self.queries)


def targets_of(clip: TrainingClip, output: ClipOutput) -> Targets:
    """Gather what the frames of an output show.

    Things are found by the queries of the grid. A query of a class, and one of a hinted object, has
    its own target, as inference takes it for granted.

    Args:
        clip: with annotation.
        output: of some frames of it, which ``frame_indices`` names.

    Raises:
        ValueError: the clip lacks what its task needs; names the video.
    """
    features = output.mask_features[0]
    frames = list(output.frame_indices)
    masks = as_padded(clip.masks[:, frames], features, fill=False)
    visible = masks.flatten(1).any(1)
    if output.object_slices:
        return _hinted(clip, output, masks, visible)
    shown = visible.nonzero()[:, 0]
    if len(shown) and clip.labels is None:
        raise ValueError(f"GvSegCriterion: clip {clip.name!r} has no labels for {clip.task}")
    labels = shown.new_zeros(0) if clip.labels is None else clip.labels[shown]
    things = Targets(masks[shown], labels, shown, visible[shown], shown.new_zeros(0))
    if "semantic" not in output.groups:
        return things
    return _with_classes(things, clip, output, frames)


def asked_vocabulary(clip: TrainingClip) -> Vocabulary:
    """Return the classes that a clip's task asks for."""
    task = clip.tasks[0]
    assert isinstance(task, CategoryTask)
    return task.resolve()


def _hinted(clip: TrainingClip, output: ClipOutput, masks: Tensor, visible: Tensor) -> Targets:
    if len(masks) != len(output.object_slices):
        raise ValueError(
            f"GvSegCriterion: clip {clip.name!r} has {len(masks)} targets for "
            f"{len(output.object_slices)} hinted objects"
        )
    queries = torch.tensor([own.start for own in output.object_slices], device=masks.device)
    # The classes are "object" and none.
    return Targets(
        masks, 1 - visible.long(), torch.arange(len(masks)).to(queries), visible, queries
    )


def _with_classes(
    things: Targets, clip: TrainingClip, output: ClipOutput, frames: list[int]
) -> Targets:
    """Add the classes that have a query and that the frames show."""
    if clip.semantic is None:
        raise ValueError(f"GvSegCriterion: clip {clip.name!r} has no semantic map for {clip.task}")
    vocabulary = asked_vocabulary(clip)
    part = output.groups["semantic"]
    of_queries = range(len(vocabulary)) if clip.task == "vss" else vocabulary.stuff_ids
    semantic = as_padded(clip.semantic[frames], output.mask_features[0], fill=IGNORE)
    there = set(semantic.unique().tolist())
    shown = [(n, c) for n, c in enumerate(of_queries) if c in there]
    labels = torch.tensor([c for _, c in shown], dtype=torch.long, device=semantic.device)
    queries = torch.tensor([part.start + n for n, _ in shown]).to(labels)
    return Targets(
        torch.cat((things.masks, semantic == labels[:, None, None, None])),
        torch.cat((things.labels, labels)),
        torch.cat((things.ids, torch.full_like(labels, -1))),
        torch.cat((things.visible, torch.ones_like(labels, dtype=torch.bool))),
        queries,
    )
