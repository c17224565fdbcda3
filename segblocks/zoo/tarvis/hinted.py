"""From the hints of tasks to what the object encoder reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from segblocks.tasks import HintTask


@dataclass(frozen=True)
class HintedObjects:
    """The hints of a clip, as tensors over its reference frames.

    Args:
        ids: of all objects, in task order, then hint order.
        frames: the R reference frames: those that hold a hint, ascending.
        masks: (O, R, H, W) bool at padded resolution, or None.
        points: (P, 2) as (x, y) in pixels, or None; those of one object follow each other.
        point_frames: (P,) indices into ``frames``, or None.
        order: for each of ``ids``, its place among mask objects followed by point objects.
        points_per_object: of each point object.
    """

    ids: tuple[int, ...]
    frames: tuple[int, ...]
    masks: Tensor | None
    points: Tensor | None
    point_frames: Tensor | None
    order: tuple[int, ...]
    points_per_object: tuple[int, ...]

    def slices(self, queries_per_mask: int, start: int) -> tuple[slice, ...]:
        """The queries of each object in the order of ``ids``, when the first one is ``start``."""
        num_masks = 0 if self.masks is None else len(self.masks)
        ends, sizes = [start], [queries_per_mask] * num_masks + list(self.points_per_object)
        for size in sizes:
            ends.append(ends[-1] + size)
        return tuple(slice(ends[place], ends[place + 1]) for place in self.order)


def gather_hints(
    tasks: Sequence[HintTask],
    num_frames: int,
    size: tuple[int, int],
    padded: tuple[int, int],
    device: torch.device,
) -> HintedObjects:
    """Collect the hints of several tasks.

    Args:
        tasks: with clip-local frames.
        num_frames: T of the clip.
        size: (height, width) of the clip's frames.
        padded: the same after padding; masks may have either size.
        device: of the tensors.

    Raises:
        ValueError: a hint does not fit the frames, or lies beyond the clip's end.
    """
    for task in tasks:
        task.validate(*size, padded=padded)
        late = [frame for frame in task.hints if not 0 <= frame < num_frames]
        if late:
            raise ValueError(
                f"{type(task).__name__}: hints must lie on frames 0 to {num_frames - 1} of the "
                f"clip, got frame {late[0]}"
            )
    frames = tuple(sorted({frame for task in tasks for frame in task.hints}))
    masks: dict[tuple[int, int], Tensor] = {}
    points: dict[tuple[int, int], list[tuple[int, Tensor]]] = {}
    keys = [(n, i) for n, task in enumerate(tasks) for i in task.object_ids]
    for number, task in enumerate(tasks):
        for frame, hints in task.hints.items():
            reference = frames.index(frame)
            for object_id, value in zip(hints.ids, hints.tensor(), strict=True):
                key = (number, object_id)
                if hints.kind == "mask":
                    empty = torch.zeros((len(frames), *padded), dtype=torch.bool)
                    here = masks.setdefault(key, empty)
                    here[reference] |= _padded(value, padded)
                else:
                    points.setdefault(key, []).append((reference, value))
    flat = [entry for hinted in points.values() for entry in hinted]
    places = {key: place for place, key in enumerate((*masks, *points))}
    return HintedObjects(
        ids=tuple(object_id for _, object_id in keys),
        frames=frames,
        masks=torch.stack(tuple(masks.values())).to(device) if masks else None,
        points=torch.stack([value for _, value in flat]).float().to(device) if flat else None,
        point_frames=torch.tensor([r for r, _ in flat], device=device) if flat else None,
        order=tuple(places[key] for key in keys),
        points_per_object=tuple(len(hinted) for hinted in points.values()),
    )


def _padded(mask: Tensor, padded: tuple[int, int]) -> Tensor:
    height, width = mask.shape
    return F.pad(mask, (0, padded[1] - width, 0, padded[0] - height))
