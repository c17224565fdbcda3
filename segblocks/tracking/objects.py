"""Objects given by hints, followed from clip to clip (VOS and PET)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segblocks.hints import HintKind
from segblocks.nn.clip_output import ClipOutput
from segblocks.tasks import PET, VOS, HintTask
from segblocks.tracking.full_size import full_size_argmax, full_size_masks
from segblocks.tracking.hint_sizes import resize_mask, resize_point
from segblocks.tracking.object_propagation import ObjectPropagation, check_propagation
from segblocks.tracking.overlap import LogitRows, join

_PLURALS: dict[HintKind, str] = {"mask": "masks", "point": "points", "box": "boxes"}


@dataclass(frozen=True)
class HintedObject:
    """An object that a user pointed at.

    Args:
        task: which of the tasks it belongs to.
        user_id: its id there.
        first_frame: the first frame of the video that hints at it.
    """

    task: int
    user_id: int
    first_frame: int


class ObjectTracker:
    """Follow hinted objects by showing each clip their masks on the frames shared with the last.

    An object is asked for in a clip that holds a hint of it, and from then on as long as the clip
    before shows it on the shared frames. Else it is lost, until a later hint, if there is one.
    Objects of all tasks have ids of their own here, counted from 1 in task order, then hint order.

    Args:
        tasks: index -> task.
        size: (H, W) of the video.
        model_size: (h, w) of the frames as the model gets them, before padding. Predicted masks
            that are shown to it again reach into the padding, as in the official code.
        official_compat: as the official TarViS code, prefer the later clip on shared frames where
            it shows the object at all, and the earlier one before the last clip, instead of
            averaging their logits.
        propagation: share of the masks that is propagated by how pixels look, see
            :class:`~segblocks.tracking.object_propagation.ObjectPropagation`; 0 for none.

    Raises:
        ValueError: a hint of a kind that is not among ``kinds``, or a propagation that is not from
            0 to 1.
    """

    kinds: ClassVar[tuple[HintKind, ...]] = ("mask", "point")

    def __init__(
        self,
        tasks: Mapping[int, HintTask],
        size: tuple[int, int],
        model_size: tuple[int, int],
        *,
        official_compat: bool = False,
        propagation: float = 0.0,
    ) -> None:
        check_propagation(type(self).__name__, propagation)
        self.tasks = dict(tasks)
        self.size = size
        self.model_size = model_size
        self.official_compat = official_compat
        self.objects: dict[int, HintedObject] = {}
        for index, task in self.tasks.items():
            for user_id, first_frame in _first_hints(task, self.kinds).items():
                known = HintedObject(index, user_id, first_frame)
                self.objects[len(self.objects) + 1] = known
        self._ids = {(known.task, known.user_id): i for i, known in self.objects.items()}
        self._window = LogitRows.none(0)
        self._asked: tuple[int, ...] | None = None
        self._propagation = ObjectPropagation(propagation) if propagation else None

    @property
    def first_frame(self) -> int:
        """The first frame of the video that holds a hint."""
        return min(known.first_frame for known in self.objects.values())

    def clip_tasks(self, start: int, num_frames: int) -> list[HintTask]:
        """Say what the model has to be shown for the next clip.

        On the frames shared with the clip before, these are the masks found there, which may
        overlap each other; a given mask replaces them on its own frame. A given point is shown
        too, unless the clip before has turned it into a mask already.

        Args:
            start: index in the video of the clip's first frame.
            num_frames: of the clip.

        Returns:
            At most one VOS and one PET, with clip-local frames and this tracker's ids.
        """
        masks = self._known_masks()
        for frame, given in self.given_masks(start, num_frames).items():
            here = masks.setdefault(frame, {})
            padded = next(iter(here.values())).shape if here else self.model_size
            here |= {i: _pad(mask, padded) for i, mask in given.items()}
        shown = {object_id for by_id in masks.values() for object_id in by_id}
        points: dict[int, list[tuple[int, NDArray[np.float64]]]] = {}
        for frame, given in self._given("point", start, num_frames).items():
            is_new = frame >= self._window.num_frames
            fresh = [
                (i, point) for i, values in given if is_new or i not in shown for point in values
            ]
            if fresh:
                points[frame] = fresh
        tasks: list[HintTask] = []
        if masks:
            stacks = {frame: np.stack(list(by_id.values())) for frame, by_id in masks.items()}
            tasks.append(VOS(stacks, {frame: list(by_id) for frame, by_id in masks.items()}))
        if points:
            stacks = {
                frame: np.stack([resize_point(p, self.size, self.model_size) for _, p in given])
                for frame, given in points.items()
            }
            tasks.append(PET(stacks, {f: [i for i, _ in given] for f, given in points.items()}))
        self._asked = tuple(object_id for task in tasks for object_id in task.object_ids)
        return tasks

    def hinted(self, start: int, num_frames: int) -> dict[int, set[int]]:
        """Return which objects the user hints at on the frames of a clip, by whatever kind.

        Args:
            start: index in the video of the clip's first frame.
            num_frames: of the clip.

        Returns:
            Clip-local frame -> ids.
        """
        hinted: dict[int, set[int]] = {}
        for kind in self.kinds:
            for frame, given in self._given(kind, start, num_frames).items():
                hinted.setdefault(frame, set()).update(i for i, _ in given)
        return hinted

    def given_masks(self, start: int, num_frames: int) -> dict[int, dict[int, NDArray[np.bool_]]]:
        """Return the masks that the user gives on the frames of a clip.

        Args:
            start: index in the video of the clip's first frame.
            num_frames: of the clip.

        Returns:
            Clip-local frame -> id -> mask of ``model_size``.
        """
        return {
            frame: {i: resize_mask(np.any(values, axis=0), self.model_size) for i, values in given}
            for frame, given in self._given("mask", start, num_frames).items()
        }

    def asked(self, num_objects: int) -> tuple[int, ...]:
        """Say which objects the model's next output is about, in its order.

        They are those of ``clip_tasks``; without it the model has been given the user's own tasks,
        and they are all. An object comes twice where a mask and a point of it were shown.

        Args:
            num_objects: of the output.

        Raises:
            ValueError: the output has another number of objects.
        """
        ids = tuple(self.objects) if self._asked is None else self._asked
        if len(ids) != num_objects:
            raise ValueError(
                f"the output must be about the {len(ids)} hinted objects that were asked for, "
                f"got {num_objects}"
            )
        return ids

    def blended(
        self, output: ClipOutput, logits: Mapping[int, Tensor], start: int
    ) -> Mapping[int, Tensor]:
        """Blend what a decoder found with how objects looked before; without propagation, nothing.

        Args:
            output: of the clip, a batch of one.
            logits: id -> (T, h, w) of the objects that the model was asked for.
            start: index in the video of the clip's first frame.

        Returns:
            Logits of the same objects.
        """
        if self._propagation is None:
            return logits
        num_frames = len(output.frame_indices)
        hinted, given = self.hinted(start, num_frames), self.given_masks(start, num_frames)
        return self._propagation.blend(output, logits, hinted, given)

    def update(
        self,
        logits: Mapping[int, Tensor],
        start: int,
        num_frames: int,
        num_done: int,
        *,
        last: bool = False,
    ) -> LogitRows:
        """Take in a clip.

        Args:
            logits: id -> (T, h, w) of the objects that the model was asked for.
            start: index in the video of the clip's first frame.
            num_frames: T.
            num_done: frames of the clip that no later clip holds.
            last: whether no clip follows.

        Returns:
            The logits of the objects over these frames.
        """
        self._asked = None
        clip = LogitRows.none(num_frames)
        if logits:
            clip = LogitRows.of_clip(tuple(logits), torch.stack(tuple(logits.values())))
            first = torch.tensor([self.objects[i].first_frame - start for i in logits])
            unknown = torch.arange(num_frames) < first[:, None]
            clip = clip.hide(unknown.to(clip.counts.device))
        earlier = self._window
        if self.official_compat:
            earlier, clip = self._choose(earlier, clip, last=last)
        finished, self._window = join(earlier, clip).split(num_done)
        return finished

    def masks(self, task: int, rows: LogitRows, t: int) -> NDArray[np.bool_]:
        """Return the masks of a task's objects at a frame; each pixel belongs to at most one.

        Args:
            task: its index.
            rows: as ``update`` returned them.
            t: the frame in ``rows``.

        Returns:
            (O, H, W) in the order of the task's hints, empty for objects that are not there.
        """
        masks = np.zeros((len(self.tasks[task].object_ids), *self.size), dtype=np.bool_)
        ids, logits = rows.frame(t)
        own = [row for row, i in enumerate(ids) if self.objects[i].task == task]
        if own:
            best, index = full_size_argmax(logits[own], self.model_size, self.size)
            winner = torch.where(best > 0, index, -1).cpu().numpy()
            order = {user_id: n for n, user_id in enumerate(self.tasks[task].object_ids)}
            for n, row in enumerate(own):
                np.equal(winner, n, out=masks[order[self.objects[ids[row]].user_id]])
        return masks

    def _known_masks(self) -> dict[int, dict[int, NDArray[np.bool_]]]:
        """Shared frame -> id -> padded mask of each object that the last clip shows there."""
        known: dict[int, dict[int, NDArray[np.bool_]]] = {}
        for t in range(self._window.num_frames):
            ids, logits = self._window.frame(t)
            padded = (4 * logits.shape[-2], 4 * logits.shape[-1])
            masks = full_size_masks(logits, padded, padded)
            shown = {i: mask for i, mask in zip(ids, masks, strict=True) if mask.any()}
            if shown:
                known[t] = shown
        return known

    def _given(
        self, kind: HintKind, start: int, num_frames: int
    ) -> dict[int, list[tuple[int, NDArray[Any]]]]:
        """Clip-local frame -> id and hints (n, ...) of each object that the user hints at there."""
        given: dict[int, list[tuple[int, NDArray[Any]]]] = {}
        for index, task in self.tasks.items():
            for frame, hints in task.hints.items():
                if hints.kind != kind or not start <= frame < start + num_frames:
                    continue
                for user_id in dict.fromkeys(hints.ids):
                    rows = [row for row, i in enumerate(hints.ids) if i == user_id]
                    entry = (self._ids[index, user_id], hints.values[rows])
                    given.setdefault(frame - start, []).append(entry)
        return given

    def _choose(
        self, earlier: LogitRows, later: LogitRows, *, last: bool
    ) -> tuple[LogitRows, LogitRows]:
        """Hide one of two clips on shared frames, by the precedence of the official code."""
        shared = torch.arange(later.num_frames, device=later.counts.device) < earlier.num_frames
        if last:
            return earlier, later.hide(shared)
        shown = self._shown(later, earlier.num_frames)
        there = dict(zip(earlier.ids, (earlier.counts > 0).cpu(), strict=True))
        later_wins = {i: shown[i] | ~there[i] for i in shown if i in there}
        earlier_wins = {i: ~wins for i, wins in later_wins.items()}
        return earlier.hide(_where(earlier, later_wins)), later.hide(_where(later, earlier_wins))

    def _shown(self, rows: LogitRows, num_frames: int) -> dict[int, Tensor]:
        """Id -> (num_frames,) bool on the CPU: whether an object wins any pixel of its task."""
        shown: dict[int, Tensor] = {}
        there = (rows.counts[:, :num_frames] > 0)[..., None, None]
        logits = torch.where(there, rows.logits[:, :num_frames], -torch.inf)
        for task in self.tasks:
            own = [row for row, i in enumerate(rows.ids) if self.objects[i].task == task]
            if own:
                winner = logits[own].argmax(dim=0)
                for n, row in enumerate(own):
                    wins = (winner == n) & (logits[row] > 0)
                    shown[rows.ids[row]] = wins.flatten(1).any(dim=1).cpu()
        return shown


def _pad(mask: NDArray[np.bool_], size: tuple[int, ...]) -> NDArray[np.bool_]:
    extra = [(0, after - before) for before, after in zip(mask.shape, size, strict=True)]
    return np.pad(mask, extra)


def _where(rows: LogitRows, by_id: Mapping[int, Tensor]) -> Tensor:
    """Lay flags (t,) of some ids over the first t frames of ``rows``, (N, T) bool."""
    where = torch.zeros(rows.counts.shape, dtype=torch.bool)
    for row, i in enumerate(rows.ids):
        if i in by_id:
            where[row, : len(by_id[i])] = by_id[i]
    return where.to(rows.counts.device)


def _first_hints(task: HintTask, kinds: tuple[HintKind, ...]) -> dict[int, int]:
    """Id -> first frame, in hint order, of the objects of a task."""
    first: dict[int, int] = {}
    for frame, hints in task.hints.items():
        if hints.kind not in kinds:
            raise ValueError(
                f"{type(task).__name__}: hints must be "
                f"{' or '.join(_PLURALS[kind] for kind in kinds)}, got {_PLURALS[hints.kind]}"
            )
        for user_id in hints.ids:
            first.setdefault(user_id, frame)
    return first
