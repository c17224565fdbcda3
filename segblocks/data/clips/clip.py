"""What one place of a training batch holds."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from segblocks.tasks import HintTask, Task
from segblocks.text.vocabulary import Vocabulary


@dataclass(frozen=True, eq=False)
class TrainingClip:
    """Hold some frames of a video, what a model is asked of them, and the answer.

    Args:
        name: of the video, for messages.
        frames: (T, 3, H, W) uint8, RGB.
        tasks: what the model is asked; the frames of hints count within the clip.
        masks: (O, T, H, W) bool, the answer. For hints, in the order of the tasks and of the
            objects of each; for RefVOS, of the sentences; for VIS and VPS, every thing that the
            clip shows, without crowds; none for VSS.
        labels: (O,) int64, class of each object in ``vocabulary``; None without classes, and for
            sentences, which may mean several objects.
        semantic: (T, H, W) int64, class of each pixel, ``IGNORE`` where it is not labelled; None
            where the dataset has no such annotation, and for hints and sentences.
        ignore: (T, H, W) bool, pixels on which nothing is judged; None for none.
        vocabulary: of labels and semantic map, or None.
        frame_indices: of the frames in the video.
        seed: of all chance after loading, such as the points of losses. It names the run and the
            draw, so that it is the same whichever process trains on the clip.
    """

    name: str
    frames: Tensor
    tasks: tuple[Task, ...]
    masks: Tensor
    labels: Tensor | None
    semantic: Tensor | None
    ignore: Tensor | None
    vocabulary: Vocabulary | None
    frame_indices: tuple[int, ...]
    seed: tuple[int, ...]

    @property
    def task(self) -> str:
        """Name of the first task."""
        return self.tasks[0].name

    @property
    def object_ids(self) -> tuple[int, ...]:
        """The number of each object of ``masks``: those of the hints, else counted from 1."""
        hinted = (task.object_ids for task in self.tasks if isinstance(task, HintTask))
        return tuple(i for ids in hinted for i in ids) or tuple(range(1, len(self.masks) + 1))

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> TrainingClip:
        """Return the clip with its tensors on a device; hints stay arrays of numpy."""
        moved = {
            name: None if value is None else value.to(device, non_blocking=non_blocking)
            for name in ("frames", "masks", "labels", "semantic", "ignore")
            for value in [getattr(self, name)]
        }
        return replace(self, **moved)

    def __repr__(self) -> str:
        asked = ", ".join(task.name for task in self.tasks)
        return f"TrainingClip({self.name!r}, {asked}, frames {self.frame_indices})"
