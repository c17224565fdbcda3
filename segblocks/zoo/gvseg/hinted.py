"""Hinted objects of a video: what to show the model in which clip, and what it reads of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segblocks.hints import HintKind, Hints
from segblocks.nn import HintQueries
from segblocks.nn.clip_output import ClipOutput
from segblocks.tasks import EVS, HintTask, Task
from segblocks.tracking.hint_sizes import resize_box, resize_mask, resize_point
from segblocks.tracking.object_propagation import ObjectPropagation
from segblocks.tracking.objects import HintedObject

_FIELDS: dict[HintKind, str] = {"mask": "masks", "box": "boxes", "point": "points"}


@dataclass(frozen=True)
class Recall(Task):
    """Go on with the objects that the state of the video knows; asked by the policy alone."""

    name: ClassVar[str] = "recall"


class HintBook:
    """The hinted objects of all tasks of a video, by keys from 1 in task order, then hint order.

    Args:
        tasks: index -> task, with hints on frames of the video.
        size: (H, W) of the video.
        model_size: (h, w) of the frames as the model gets them, before padding.
        propagation: share of the masks that is propagated by how pixels look; 0 for none.
    """

    def __init__(
        self,
        tasks: Mapping[int, HintTask],
        size: tuple[int, int],
        model_size: tuple[int, int],
        *,
        propagation: float = 0.0,
    ) -> None:
        self._propagation = ObjectPropagation(propagation) if propagation else None
        self.tasks = dict(tasks)
        self.size = size
        self.model_size = model_size
        self.objects: dict[int, HintedObject] = {}
        for index, task in self.tasks.items():
            for user_id in task.object_ids:
                first = min(frame for frame, hints in task.hints.items() if user_id in hints.ids)
                self.objects[len(self.objects) + 1] = HintedObject(index, user_id, first)
        self._keys = {(known.task, known.user_id): key for key, known in self.objects.items()}

    @property
    def first_frame(self) -> int:
        """The first frame of the video that holds a hint."""
        return min(known.first_frame for known in self.objects.values())

    def clip_tasks(self, start: int, num_frames: int) -> list[Task]:
        """Return the hints of a clip, at the model's size and with keys for ids."""
        asked: list[Task] = []
        for index, task in self.tasks.items():
            window = task.window(start, start + num_frames)
            if window is not None:
                keys = {i: self._keys[index, i] for i in window.object_ids}
                asked.append(self._as_exemplars(window, keys))
        return asked

    def hinted(self, frame: int) -> set[int]:
        """Return the keys of the objects that a frame's hints are about, of whatever kind."""
        return {
            self._keys[index, user_id]
            for index, task in self.tasks.items()
            if frame in task.hints
            for user_id in task.hints[frame].ids
        }

    def given_masks(self, frame: int) -> dict[int, NDArray[np.bool_]]:
        """Key -> mask (H, W) of each object whose mask is given in a frame."""
        masks: dict[int, NDArray[np.bool_]] = {}
        for index, task in self.tasks.items():
            hints = task.hints.get(frame)
            if hints is not None and hints.kind == "mask":
                for user_id, mask in zip(hints.ids, hints.values, strict=True):
                    key = self._keys[index, user_id]
                    masks[key] = masks[key] | mask if key in masks else mask
        return masks

    def blended(
        self, output: ClipOutput, keys: Sequence[int], logits: Tensor, start: int
    ) -> Tensor:
        """Blend what a decoder found with how objects looked before; without propagation, nothing.

        Args:
            output: of the clip, a batch of one.
            keys: of O objects.
            logits: (O, T, h, w).
            start: index in the video of the clip's first frame.

        Returns:
            (O, T, h, w).
        """
        if self._propagation is None:
            return logits
        frames = range(len(output.frame_indices))
        hinted = {t: self.hinted(start + t) for t in frames}
        given = {
            t: {
                key: resize_mask(mask, self.model_size)
                for key, mask in self.given_masks(start + t).items()
            }
            for t in frames
        }
        by_key = dict(zip(keys, logits, strict=True))
        return torch.stack([*self._propagation.blend(output, by_key, hinted, given).values()])

    def _as_exemplars(self, task: HintTask, keys: Mapping[int, int]) -> EVS:
        """The same hints at the model's size, with keys for ids."""
        field = _FIELDS[next(iter(task.hints.values())).kind]
        arrays = {frame: self._resized(hints) for frame, hints in task.hints.items()}
        ids = {frame: [keys[i] for i in hints.ids] for frame, hints in task.hints.items()}
        return EVS(**{field: arrays, "ids": ids})

    def _resized(self, hints: Hints) -> NDArray[Any]:
        if hints.kind == "mask":
            return np.stack([resize_mask(mask, self.model_size) for mask in hints.values])
        resize = resize_point if hints.kind == "point" else resize_box
        return np.stack([resize(value, self.size, self.model_size) for value in hints.values])


def distinct_keys(tasks: Sequence[HintTask]) -> list[dict[int, int]]:
    """Number the objects of several tasks from 1, in task order, then hint order: id -> number."""
    keys, count = [], 0
    for task in tasks:
        keys.append({user_id: count + n for n, user_id in enumerate(task.object_ids, 1)})
        count += len(keys[-1])
    return keys


def read_hints(
    tasks: Sequence[HintTask],
    reader: HintQueries,
    features: Tensor,
    size: tuple[int, int],
    *,
    keys: Sequence[Mapping[int, int]] | None = None,
    generator: torch.Generator | None = None,
) -> dict[int, Tensor]:
    """Read the features of hinted objects.

    Args:
        tasks: with clip-local frames.
        reader: of features.
        features: (T, C, h, w), the mask features of the clip.
        size: (height, width) of its frames.
        keys: of each task, id -> number that is distinct over the tasks. None: the ids are
            distinct themselves, and stand for the numbers.
        generator: draws places in training.

    Returns:
        Number -> (C,), the mean over all hints at the object, in hint order.

    Raises:
        ValueError: a hint that does not fit the frames, or lies beyond the clip's end.
    """
    found: dict[int, list[Tensor]] = {}
    for n, task in enumerate(tasks):
        task.validate(*size)
        late = [frame for frame in task.hints if frame >= len(features)]
        if late:
            raise ValueError(
                f"GvSeg: hints must lie on frames 0 to {len(features) - 1} of the clip, "
                f"got frame {late[0]}"
            )
        for frame, hints in task.hints.items():
            values = hints.tensor().to(features.device)
            frames = torch.full((len(values),), frame, device=features.device)
            if hints.kind == "mask":
                read = reader.read_masks(features, values, frames, generator=generator)
            elif hints.kind == "box":
                read = reader.read_boxes(features, values.float(), frames, generator=generator)
            else:
                read = reader.read_points(features, values.float(), frames)
            for object_id, feature in zip(hints.ids, read, strict=True):
                key = object_id if keys is None else keys[n][object_id]
                found.setdefault(key, []).append(feature)
    return {i: torch.stack(features).mean(0) for i, features in found.items()}
