"""From training clips to prompts of what they show, for UniVS."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from segblocks.data.clips import ClipRule, TrainingClip
from segblocks.data.clips.clip_tasks import ask_by_hint
from segblocks.data.sample import IGNORE
from segblocks.tasks import CategoryTask, Task
from segblocks.zoo.univs.state import ClassPrompts


@dataclass(frozen=True, eq=False)
class PromptedClip(TrainingClip):
    """A clip whose prompts show some of its targets.

    Args:
        rows: of each object that the tasks show, its place among the targets, in task order, then
            hint order.
    """

    rows: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class PromptRule:
    """Say how the targets of a clip are shown.

    The defaults are the official numbers where they are no slip.

    Args:
        visual_share: chance that a clip of VIS, VPS or VSS shows its targets; otherwise it names
            their classes. The official code draws from a normal where it means a uniform
            distribution, and so has 0.31.
        point_share: chance that a target is shown by a point.
        box_share: chance that it is shown by a box; all others are shown by masks.
        max_prompts: of a clip (30 in the first stage, 20 in the others).
        absent_classes: that are named beside those that the clip shows, as far as ``max_prompts``
            and the vocabulary allow. The official code fills up batches with them, so that one clip
            a batch has none.

    Raises:
        ValueError: a number out of range.
    """

    visual_share: float = 0.5
    point_share: float = 0.25
    box_share: float = 0.25
    max_prompts: int = 20
    absent_classes: int = 4

    def __post_init__(self) -> None:
        if not 0 <= self.visual_share <= 1:
            raise ValueError(f"PromptRule: visual_share must lie in 0..1, got {self.visual_share}")
        if self.max_prompts < 1 or self.absent_classes < 0:
            raise ValueError(
                "PromptRule: max_prompts must be at least 1 and absent_classes at least 0, "
                f"got {self.max_prompts} and {self.absent_classes}"
            )
        _ = self.clip_rule

    @property
    def clip_rule(self) -> ClipRule:
        """By which the kind of a hint is drawn."""
        return ClipRule(point_share=self.point_share, box_share=self.box_share)

    def ask(self, clip: TrainingClip, rng: np.random.Generator) -> PromptedClip:
        """Add prompts to a clip that asks for classes; others have theirs.

        Args:
            clip: of any task.
            rng: the source of chance.

        Returns:
            The clip with :func:`with_entities` for its targets.
        """
        if not isinstance(clip.tasks[0], CategoryTask):
            return self.with_tasks(clip, clip.tasks, range(_shown_objects(clip)))
        clip = with_entities(clip)
        if rng.random() >= self.visual_share:
            return self.with_tasks(clip, (*clip.tasks, *self.classes(clip, rng)), ())
        hints, rows = self.show(clip, rng)
        return self.with_tasks(clip, (*clip.tasks, *hints), rows)

    def show(
        self,
        clip: TrainingClip,
        rng: np.random.Generator,
        *,
        start: int = 0,
        stop: int | None = None,
    ) -> tuple[tuple[Task, ...], list[int]]:
        """Draw a frame and show the targets that it has.

        Args:
            clip: with all targets.
            rng: the source of chance.
            start: of the frames to draw from, with which hints begin to count.
            stop: the frame behind them.

        Returns:
            Tasks, none where no frame has a target, and the row of each object in their order.
        """
        seen = clip.masks[:, start:stop].flatten(2).any(dim=2).cpu().numpy()
        frames = np.flatnonzero(seen.any(axis=0))
        if not len(frames):
            return (), []
        frame = int(rng.choice(frames))
        rows = rng.permutation(np.flatnonzero(seen[:, frame]))[: self.max_prompts]
        masks: Any = clip.masks[torch.from_numpy(rows).to(clip.masks.device), start + frame]
        ids = [int(row) + 1 for row in rows]
        tasks, order = ask_by_hint(rng, "evs", self.clip_rule, frame, masks.cpu().numpy(), ids)
        return tasks, [int(rows[i]) for i in order]

    def classes(self, clip: TrainingClip, rng: np.random.Generator) -> tuple[Task, ...]:
        """Name the classes of a clip, and some that it does not show."""
        if clip.labels is None or clip.vocabulary is None or not len(clip.labels):
            return ()
        present = rng.permutation(np.unique(clip.labels.cpu().numpy()))[: self.max_prompts]
        absent = np.setdiff1d(np.arange(len(clip.vocabulary)), clip.labels.cpu().numpy())
        room = min(self.absent_classes, self.max_prompts - len(present))
        chosen = [*present, *rng.permutation(absent)[:room]]
        names = [clip.vocabulary.classes[i] for i in chosen]
        return (ClassPrompts(clip.vocabulary.subset(names)),)

    @staticmethod
    def with_tasks(clip: TrainingClip, tasks: Sequence[Task], rows: Sequence[int]) -> PromptedClip:
        """Return the clip with other tasks."""
        fields = {**vars(clip), "tasks": tuple(tasks), "rows": tuple(rows)}
        return PromptedClip(**fields)


def with_entities(clip: TrainingClip) -> TrainingClip:
    """Return a clip whose targets are also its regions of stuff.

    UniVS finds stuff by queries, as it finds things: in VPS each class of stuff that a clip shows
    is a target, in VSS each class.

    Args:
        clip: of any task; VPS and VSS need its semantic map, which is gone afterwards.

    Raises:
        ValueError: there is none; names the video.
    """
    if clip.task not in ("vps", "vss") or (
        clip.semantic is None and isinstance(clip, PromptedClip)
    ):
        return clip
    if clip.semantic is None or clip.vocabulary is None:
        raise ValueError(f"clip {clip.name!r} has no semantic map for {clip.task}")
    there = [int(k) for k in clip.semantic.unique() if int(k) != IGNORE]
    wanted = [k for k in there if clip.task == "vss" or not clip.vocabulary.is_thing(k)]
    classes = torch.tensor(wanted, dtype=torch.int64, device=clip.semantic.device)
    stuff = clip.semantic[None] == classes[:, None, None, None]
    things = clip.masks if clip.task == "vps" else clip.masks[:0]
    labels = classes if clip.task == "vss" else torch.cat((_labels(clip), classes))
    return replace(
        PromptRule.with_tasks(clip, clip.tasks, ()),
        masks=torch.cat((things, stuff)),
        labels=labels,
        semantic=None,
    )


def _labels(clip: TrainingClip) -> Tensor:
    if clip.labels is None:
        raise ValueError(f"clip {clip.name!r} has no labels for {clip.task}")
    return clip.labels


def _shown_objects(clip: TrainingClip) -> int:
    return 0 if clip.task == "refvos" else len(clip.masks)
