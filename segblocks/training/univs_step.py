"""The training step of UniVS: prompts are made of the targets, long videos are clips in a row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from torch import Tensor

from segblocks.data.clips import TrainingClip
from segblocks.matching import seeded_generator
from segblocks.tasks import HintTask, Task
from segblocks.training.criteria.univs import UniVSCriterion
from segblocks.training.step import TrainingStep
from segblocks.training.univs_prompts import PromptedClip, PromptRule, with_entities
from segblocks.zoo.univs.training import UniVSOutput, Window, train_windows

# Beside other chance of the same draw.
_PROMPTS = 1


class UniVSStep(TrainingStep):
    """From a batch of clips to the losses of UniVS.

    Clips that ask for classes are also asked by prompts, see
    :class:`~segblocks.training.univs_prompts.PromptRule`. With ``clip_length``, longer clips are
    videos: two clips of this length, of which the second remembers what the first showed (the third
    stage of UniVS' training).

    Args:
        model: a UniVS.
        criterion: of it.
        visual_share: as of ``PromptRule``, like what follows.
        point_share: as of ``PromptRule``.
        box_share: as of ``PromptRule``.
        max_prompts: as of ``PromptRule``.
        absent_classes: as of ``PromptRule``.
        clip_length: frames of a clip of a video; None takes all clips as they are.

    Raises:
        ValueError: a number out of range.

    Example:
        >>> from segblocks.zoo.univs import UniVS, UniVSConfig
        >>> config = UniVSConfig(num_queries=9, neck_layers=1, decoder_layers=3, text_dim=16,
        ...                      neck_hidden_dim=64, decoder_hidden_dim=64, text_encoder="hash/16",
        ...                      text_templates="name")
        >>> step = UniVSStep(UniVS(config), UniVSCriterion(num_points=128), clip_length=5)
        >>> step.prompts.visual_share
        0.5
    """

    def __init__(
        self,
        model: Any,
        criterion: UniVSCriterion,
        *,
        visual_share: float = 0.5,
        point_share: float = 0.25,
        box_share: float = 0.25,
        max_prompts: int = 20,
        absent_classes: int = 4,
        clip_length: int | None = None,
    ) -> None:
        super().__init__(model, criterion)
        self.prompts = PromptRule(
            visual_share=visual_share,
            point_share=point_share,
            box_share=box_share,
            max_prompts=max_prompts,
            absent_classes=absent_classes,
        )
        if clip_length is not None and clip_length < 1:
            raise ValueError(f"UniVSStep: clip_length must be at least 1, got {clip_length}")
        self.clip_length = clip_length

    def forward(self, clips: Sequence[TrainingClip]) -> dict[str, Tensor]:
        """Compute the losses of a batch.

        Args:
            clips: on the device of the model; of any sizes and tasks.

        Returns:
            Weighted scalars, the sum of which is the loss.

        Raises:
            ValueError: no clip, or a clip that does not fit the model or the criterion.
        """
        length = self.clip_length
        if length is None or all(len(clip.frames) <= length for clip in clips):
            return super().forward([self.prompts.ask(clip, _chance(clip)) for clip in clips])
        outputs: list[UniVSOutput] = []
        parts: list[TrainingClip] = []
        videos: list[int] = []
        for n, clip in enumerate(clips):
            found, own = self._video(clip, length)
            outputs += found
            parts += own
            videos += [n] * len(own)
        return self.criterion(outputs, parts, videos=videos)

    def _video(
        self, clip: TrainingClip, length: int
    ) -> tuple[tuple[UniVSOutput, ...], list[PromptedClip]]:
        """The clips of a video, and what the model makes of them."""
        length = min(length, len(clip.frames))
        parts = self.windows(clip, length)
        shown = with_entities(clip)
        outputs = train_windows(
            self.model,
            clip.frames[None],
            [Window(start, part.tasks) for start, part in parts],
            shown.masks,
            range(1, len(shown.masks) + 1),
            length,
            generator=seeded_generator(*clip.seed, "model"),
        )
        return outputs, [part for _, part in parts]

    def windows(self, clip: TrainingClip, length: int) -> list[tuple[int, PromptedClip]]:
        """Cut a video into its first and its last clip, each with prompts on one of its frames.

        A clip that shows no object, of a task that asks for objects alone, is left out.

        Args:
            clip: the video.
            length: of a clip.

        Returns:
            Start and clip; one where the video is no longer than a clip, or the other shows
            nothing.
        """
        rng = _chance(clip)
        asked = self.prompts.ask(clip, rng)
        last = len(clip.frames) - length
        found = [(start, self._window(asked, start, length, rng)) for start in {0: 0, last: 0}]
        found = [(start, window) for start, window in found if window.tasks]
        if found:
            return found
        # Its objects are there only in between.
        first = int(asked.masks.flatten(2).any(dim=2).any(dim=0).nonzero()[0])
        start = min(first, last)
        return [(start, self._window(asked, start, length, rng))]

    def _window(
        self, asked: PromptedClip, start: int, length: int, rng: np.random.Generator
    ) -> PromptedClip:
        """A clip of a video, without tasks where it shows nothing that they ask for."""
        part = slice(start, start + length)
        tasks: list[Task] = [task for task in asked.tasks if not isinstance(task, HintTask)]
        rows: list[int] = []
        if asked.rows:
            hints, rows = self.prompts.show(asked, rng, start=start, stop=start + length)
            tasks += hints
        return replace(
            asked,
            frames=asked.frames[part],
            masks=asked.masks[:, part],
            semantic=None,
            ignore=None if asked.ignore is None else asked.ignore[part],
            frame_indices=asked.frame_indices[part],
            seed=(*asked.seed, start),
            tasks=tuple(tasks),
            rows=tuple(rows),
        )


def _chance(clip: TrainingClip) -> np.random.Generator:
    return np.random.default_rng([*clip.seed, _PROMPTS])
