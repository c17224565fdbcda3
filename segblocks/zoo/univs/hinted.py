"""From the hints of a clip to tokens of the objects that they show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from segblocks.nn import DecoderContext, VisualSampler, VisualTokens
from segblocks.nn.visual_sampler import frame_time
from segblocks.tasks import HintTask, RefVOS, Task
from segblocks.zoo.univs.state import UniVSState


class ClipHints(NamedTuple):
    """The hints of a clip for the model.

    Args:
        objects: of each task, its objects' keys in hint order; keys are distinct over tasks.
        hints: frame -> (key, kind, value), in hint order: mask (H, W) at padded size, point or box
            in pixels.
    """

    objects: tuple[tuple[int, ...], ...]
    hints: dict[int, list[tuple[int, str, Tensor]]]

    @property
    def first_frames(self) -> dict[int, int]:
        """Key -> first frame of the clip that shows the object."""
        first: dict[int, int] = {}
        for frame in sorted(self.hints):
            for key, _, _ in self.hints[frame]:
                first.setdefault(key, frame)
        return first


def gather_hints(
    tasks: Sequence[HintTask],
    num_frames: int,
    size: tuple[int, int],
    padded: tuple[int, int],
    *,
    keep_ids: bool,
) -> ClipHints:
    """Collect the hints of several tasks.

    Args:
        tasks: with clip-local frames.
        num_frames: T of the clip.
        size: (height, width) of the clip's frames.
        padded: the same after padding; masks may have either size.
        keep_ids: ids are distinct over tasks and serve as keys; otherwise objects are counted from
            1, in task order, then hint order.

    Raises:
        ValueError: a hint does not fit the frames, or lies beyond the clip's end.
    """
    objects: list[tuple[int, ...]] = []
    found: dict[int, list[tuple[int, str, Tensor]]] = {}
    count = 0
    for task in tasks:
        task.validate(*size, padded=padded)
        late = [frame for frame in task.hints if not 0 <= frame < num_frames]
        if late:
            raise ValueError(
                f"{type(task).__name__}: hints must lie on frames 0 to {num_frames - 1} of the "
                f"clip, got frame {late[0]}"
            )
        keys = {i: i if keep_ids else count + n for n, i in enumerate(task.object_ids, 1)}
        count += len(keys)
        objects.append(tuple(keys.values()))
        for frame, hints in task.hints.items():
            values = hints.tensor()
            for object_id, value in zip(hints.ids, values, strict=True):
                if hints.kind == "mask":
                    height, width = value.shape
                    value = F.pad(value, (0, padded[1] - width, 0, padded[0] - height))
                found.setdefault(frame, []).append((keys[object_id], hints.kind, value))
    return ClipHints(tuple(objects), found)


def sample_hints(
    hints: ClipHints,
    sampler: VisualSampler,
    context: DecoderContext,
    padded: tuple[int, int],
    frame_indices: Sequence[int] | None,
) -> dict[int, dict[int, VisualTokens]]:
    """Take the tokens of objects from the frames that show them.

    Args:
        hints: of one clip.
        sampler: at a stride of the context's levels.
        context: of the clip.
        padded: (height, width) of its frames.
        frame_indices: of its frames in the video, None for relative time.

    Returns:
        Frame -> key -> tokens (R, C). Several hints at an object in a frame share its tokens.
    """
    level = context.levels[sampler.stride]
    grid = (padded[0] // sampler.stride, padded[1] // sampler.stride)
    num_frames = level.tokens.shape[1]
    found: dict[int, dict[int, VisualTokens]] = {}
    for frame in sorted(hints.hints):
        features = level.tokens[0, frame].detach().unflatten(0, grid)
        positions = level.positions[frame].unflatten(0, grid)
        time = frame_time(frame, num_frames, frame_indices)
        by_key: dict[int, list[VisualTokens]] = {}
        for kind, (keys, values) in _by_kind(hints.hints[frame], features.device).items():
            if kind == "mask":
                tokens = sampler.masks(features, positions, values, time=time)
            elif kind == "box":
                tokens = sampler.boxes(features, positions, _relative(values, padded), time=time)
            else:
                centres = _relative(values + 0.5, padded)
                tokens = sampler.points(features, centres, time=time)
            for n, key in enumerate(keys):
                by_key.setdefault(key, []).append(VisualTokens(*(x[n] for x in tokens)))
        found[frame] = {key: _interleave(parts) for key, parts in by_key.items()}
    return found


def object_queries(
    tasks: Sequence[Task], hinted: ClipHints, state: UniVSState | None, groups: Mapping[str, slice]
) -> tuple[tuple[slice, ...], tuple[int, ...]]:
    """Find the query of each object, and its id: task order, then hint order.

    Where the policy asks, all objects of the memory come first, by the policy's own ids.

    Args:
        tasks: of the clip.
        hinted: their hints.
        state: of the video, or None where nothing is remembered.
        groups: of the queries.
    """
    slices: list[slice] = []
    ids: list[int] = []
    visual, grounding = (groups.get(kind, slice(0, 0)).start for kind in ("visual", "grounding"))
    keyed = state is not None and state.is_keyed
    memory = (
        [key for keys in hinted.objects for key in keys] if state is None else state.prompts.ids
    )
    if keyed:
        slices += [slice(visual + n, visual + n + 1) for n in range(len(memory))]
        ids += memory
    objects = iter(hinted.objects)
    for task in tasks:
        if isinstance(task, RefVOS):
            slices += [slice(grounding + n, grounding + n + 1) for n in range(len(task.object_ids))]
            grounding += len(task.object_ids)
            ids += task.object_ids
        elif isinstance(task, HintTask) and not keyed:
            places = [visual + list(memory).index(key) for key in next(objects)]
            slices += [slice(place, place + 1) for place in places]
            ids += task.object_ids
    return tuple(slices), tuple(ids)


def _by_kind(
    hints: Sequence[tuple[int, str, Tensor]], device: torch.device
) -> Mapping[str, tuple[list[int], Tensor]]:
    """Kind -> keys and values; the masks of an object are one."""
    values: dict[str, list[tuple[int, Tensor]]] = {}
    masks: dict[int, Tensor] = {}
    for key, kind, value in hints:
        if kind != "mask":
            values.setdefault(kind, []).append((key, value.float()))
        else:
            masks[key] = masks[key] | value if key in masks else value
    if masks:
        values["mask"] = list(masks.items())
    return {
        kind: ([key for key, _ in given], torch.stack([value for _, value in given]).to(device))
        for kind, given in values.items()
    }


def _relative(places: Tensor, padded: tuple[int, int]) -> Tensor:
    """Bring (x, y, ...) in pixels to 0..1."""
    sides = places.new_tensor(padded[::-1]).repeat(places.shape[-1] // 2)
    return places / sides


def _interleave(parts: Sequence[VisualTokens]) -> VisualTokens:
    """Take a token of each part in turn."""
    if len(parts) == 1:
        return parts[0]
    turn = torch.arange(len(parts[0].features)) % len(parts)
    place = torch.arange(len(turn))
    return VisualTokens(*(torch.stack(x)[turn, place] for x in zip(*parts, strict=True)))
