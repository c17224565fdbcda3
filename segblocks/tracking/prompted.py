"""Hinted objects that a memory of prompts keeps asking for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segblocks.nn.clip_output import ClipOutput
from segblocks.tasks import EVS, HintTask
from segblocks.tracking.detection import mask_quality, share_pixels
from segblocks.tracking.embedding_memory import EmbeddingMemory
from segblocks.tracking.hint_sizes import resize_box
from segblocks.tracking.objects import ObjectTracker
from segblocks.tracking.overlap import LogitRows


class Prompted(NamedTuple):
    """What a clip says of prompted objects.

    Args:
        ids: O of them.
        logits: (O, T, h, w).
        embeddings: (O, T, C), the normed queries.
    """

    ids: tuple[int, ...]
    logits: Tensor
    embeddings: Tensor

    def select(self, kept: Sequence[bool] | Tensor) -> Prompted:
        """Some of them."""
        flags = kept.tolist() if isinstance(kept, Tensor) else kept
        index = [n for n, keep in enumerate(flags) if keep]
        return Prompted(
            tuple(self.ids[n] for n in index), self.logits[index], self.embeddings[index]
        )


class PromptedTracker(ObjectTracker):
    """Follow hinted objects that the model remembers, whether the last clip shows them or not.

    An object whose embeddings are unlike those of the last frames is left out of a clip, and so is
    one most of whose pixels belong to another object of its task (UniVS, official code).

    Args:
        tasks: index -> task.
        size: (H, W) of the video.
        model_size: (h, w) of the frames as the model gets them, before padding.
        num_frames: whose embeddings are remembered.
        min_consistency: of embeddings (official: 0.5).
        min_share: of its pixels that an object has to win (official: 0.25).
        propagation: as of :class:`~segblocks.tracking.objects.ObjectTracker`.
    """

    kinds = ("mask", "point", "box")

    def __init__(
        self,
        tasks: Mapping[int, HintTask],
        size: tuple[int, int],
        model_size: tuple[int, int],
        *,
        num_frames: int = 5,
        min_consistency: float = 0.5,
        min_share: float = 0.25,
        propagation: float = 0.0,
    ) -> None:
        super().__init__(tasks, size, model_size, propagation=propagation)
        self.min_consistency = min_consistency
        self.min_share = min_share
        self._embeddings = EmbeddingMemory(num_frames)

    def clip_tasks(self, start: int, num_frames: int) -> list[HintTask]:
        """Say what the model has to be shown for the next clip; boxes once, else as masks are."""
        tasks = super().clip_tasks(start, num_frames)
        boxes: dict[int, list[tuple[int, NDArray[Any]]]] = {}
        for frame, given in self._given("box", start, num_frames).items():
            if frame >= self._window.num_frames:
                boxes[frame] = [(i, box) for i, values in given for box in values]
        if boxes:
            stacks = {
                frame: np.stack([resize_box(b, self.size, self.model_size) for _, b in given])
                for frame, given in boxes.items()
            }
            tasks.append(
                EVS(boxes=stacks, ids={f: [i for i, _ in given] for f, given in boxes.items()})
            )
        return tasks

    def take(
        self,
        output: ClipOutput,
        found: Prompted,
        start: int,
        num_done: int,
        *,
        last: bool = False,
    ) -> LogitRows:
        """Take in a clip.

        Args:
            output: of the clip.
            found: all objects that the model was asked for.
            start: index in the video of the clip's first frame.
            num_done: frames of the clip that no later clip holds.
            last: whether no clip follows.

        Returns:
            The logits of the objects over these frames.
        """
        num_frames = found.logits.shape[1]
        if found.ids:
            by_id = self.blended(output, dict(zip(found.ids, found.logits, strict=True)), start)
            found = found._replace(logits=torch.stack([*by_id.values()]))
        consistency = self._embeddings.consistency(found.ids, found.embeddings)
        kept = found.select(consistency > self.min_consistency)
        weights = consistency[consistency > self.min_consistency] ** 2 * mask_quality(kept.logits)
        logits: dict[int, Tensor] = {}
        for task in self.tasks:
            own = [n for n, i in enumerate(kept.ids) if self.objects[i].task == task]
            shared, wins = share_pixels(kept.logits[own], weights[own], self.min_share)
            for n, row, win in zip(own, shared, wins.tolist(), strict=True):
                if win:
                    logits[kept.ids[n]] = row
        seen = kept.select([i in logits for i in kept.ids])
        self._embeddings.update(seen.ids, seen.embeddings, start)
        return self.update(logits, start, num_frames, num_done, last=last)
