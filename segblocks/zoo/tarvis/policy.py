"""How TarViS goes through a video: the clips, what it is asked in each, and how they are joined."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from segblocks.nn.clip_output import ClipOutput
from segblocks.results import FrameResult, TrackSummary
from segblocks.tasks import VPS, CategoryTask, HintTask, Task, as_tasks
from segblocks.text.vocabulary import Vocabulary
from segblocks.tracking.clips import (
    check_clips,
    check_next,
    class_logits_of,
    selected_logits,
)
from segblocks.tracking.full_size import full_size_masks
from segblocks.tracking.instances import InstanceTrack, InstanceTracker
from segblocks.tracking.object_propagation import check_propagation
from segblocks.tracking.objects import ObjectTracker
from segblocks.tracking.overlap import LogitRows
from segblocks.tracking.policy import VideoState
from segblocks.tracking.semantic import SemanticJoiner, class_map


class ClipSettings(NamedTuple):
    """Frames of a clip, frames shared with the next one, and the frames' short side in pixels.

    A short side of 0 stands for the size of the video.
    """

    clip_length: int
    overlap: int
    short_side: int


# From the official configuration (base values and those of the fine-tuned models).
_OF_VOCABULARY = {
    "youtube_vis_2021": ClipSettings(12, 6, 448),
    "ovis": ClipSettings(12, 6, 576),
    "kitti_step": ClipSettings(6, 3, 0),
    "cityscapes_vps": ClipSettings(10, 5, 0),
    "vipseg": ClipSettings(12, 6, 576),
}
_OF_TASK = {"vos": ClipSettings(12, 6, 0), "pet": ClipSettings(8, 4, 512)}
_OTHERWISE = ClipSettings(12, 6, 512)
_LONG_SIDE = 1333


@dataclass
class TarViSState(VideoState):
    """What TarViS remembers of a video; a part is None where no task needs it.

    Args:
        instances: tracks of VIS and VPS.
        semantic: classes of pixels in VPS.
        objects: hinted objects of all VOS and PET tasks.
    """

    instances: InstanceTracker | None = None
    semantic: SemanticJoiner | None = None
    objects: ObjectTracker | None = None


class _Finished(NamedTuple):
    """Logits over the frames that a clip has finished, the first of which is ``start``."""

    start: int
    instances: LogitRows
    semantic: LogitRows
    objects: LogitRows


class TarViSPolicy:
    """Go through a video with TarViS, for one of VIS and VPS and any number of VOS and PET tasks.

    All tasks are asked for in one pass over the same clips. Instances are linked from clip to clip
    by their masks on shared frames, semantic logits are averaged there, and hinted objects are
    encoded anew from their masks there (TarViS section 3.5). Without VIS or VPS the first
    clip begins at the first frame that holds a hint, and clips in which there is nothing to look
    for are skipped. Every frame of a hinted object comes from the model, its hinted frames too.

    Implements :class:`~segblocks.tracking.policy.VideoPolicy`.

    Args:
        tasks: as in :func:`segblocks.segment`, with hints on frames of the video.
        clip_length: frames of a clip. Default: that of the official configuration for the task or
            its vocabulary, 12 elsewhere; with several tasks the settings of the one with the
            shortest clips, the first of these.
        overlap: frames that successive clips share; default: as the clip length, half of it where
            that is given.
        short_side: resize frames to this short side; 0 leaves them as they are. Default: as the
            clip length, 512 elsewhere.
        long_side: the longest that the long side gets by that (official: 1333).
        max_instances: that VIS takes from one clip (official: 10).
        min_score: VPS takes instances and shows tracks above it (official: 0.5).
        propagation: share of the masks of hinted objects that is propagated from other frames by
            how pixels look, from 0 (none) to 1, see
            :class:`~segblocks.tracking.object_propagation.ObjectPropagation`. Neither paper nor
            official code do so; it is for models that have seen little.
        official_compat: join clips as the official code does where that changes numbers: on shared
            frames it keeps the instances of the earlier clip and, roughly, the hinted objects of
            the later one, where the default averages their logits; and it links instances by masks
            that are empty on all shared frames. Its outright failures are not reproduced.

    Raises:
        ValueError: an overlap that is not from 0 to clip_length - 1, or 0 for a task with hints; a
            negative short side; a propagation that is not from 0 to 1.

    Example:
        >>> from segblocks.tasks import PET, VIS
        >>> policy = TarViSPolicy([VIS("ovis"), PET([(4, 4)])])
        >>> policy.clip_length, policy.overlap, policy.short_side
        (8, 4, 512)
    """

    def __init__(
        self,
        tasks: Task | Sequence[Task],
        *,
        clip_length: int | None = None,
        overlap: int | None = None,
        short_side: int | None = None,
        long_side: int = _LONG_SIDE,
        max_instances: int = 10,
        min_score: float = 0.5,
        propagation: float = 0.0,
        official_compat: bool = False,
    ) -> None:
        self.tasks = as_tasks(tasks)
        default = min((_settings_of(task) for task in self.tasks), key=lambda s: s.clip_length)
        self.clip_length = default.clip_length if clip_length is None else clip_length
        half = default.overlap if clip_length is None else clip_length // 2
        self.overlap = half if overlap is None else overlap
        self.short_side = (default.short_side if short_side is None else short_side) or None
        self.long_side = long_side
        self.max_instances = max_instances
        self.min_score = min_score
        self.propagation = propagation
        self.official_compat = official_compat
        self._category = next((t for t in self.tasks if isinstance(t, CategoryTask)), None)
        self._vocabulary = self._category.resolve() if self._category else None
        self._hinted = {n: t for n, t in enumerate(self.tasks) if isinstance(t, HintTask)}
        self._check_settings()

    def start(self, size: tuple[int, int], model_size: tuple[int, int]) -> TarViSState:
        """Begin a video of frames of ``size``, shown to the model at ``model_size``."""
        state = TarViSState(size, model_size)
        if self._hinted:
            state.objects = ObjectTracker(
                self._hinted,
                size,
                model_size,
                official_compat=self.official_compat,
                propagation=self.propagation,
            )
            if self._category is None:
                state.next_start = state.objects.first_frame
        if self._vocabulary is not None:
            panoptic = isinstance(self._category, VPS)
            state.instances = InstanceTracker(
                max_per_clip=None if panoptic else self.max_instances,
                min_score=self.min_score if panoptic else 0.0,
                official_compat=self.official_compat,
            )
            if panoptic:
                state.semantic = SemanticJoiner(self._vocabulary.stuff_ids)
        return state

    def hints(self, state: TarViSState, num_frames: int | None = None) -> list[Task] | None:
        """Return the tasks of the next clip, or None where there is nothing to look for."""
        tasks: list[Task] = [] if self._category is None else [self._category]
        if state.objects is not None:
            tasks += state.objects.clip_tasks(state.next_start, num_frames or self.clip_length)
        return tasks or None

    def merge(
        self, output: ClipOutput, state: TarViSState, *, last: bool = False
    ) -> Iterator[tuple[FrameResult, ...]]:
        """Take in a clip, and return the frames that are finished now; one result a task each."""
        self._check_output(output, state, last=last)
        start, num_frames = state.next_start, len(output.frame_indices)
        done = state.advance(num_frames, self.overlap, last=last)
        instances = semantic = objects = LogitRows.none(len(done))
        if state.instances is not None:
            if not state.summarised:
                state.instances.forget_ended()
            first = output.groups["instance"].start
            instances = state.instances.update(
                self._class_logits(output),
                lambda queries: selected_logits(output, queries + first),
                len(done),
            )
        if state.semantic is not None:
            classes = torch.tensor(state.semantic.classes, device=output.mask_features.device)
            queries = classes.long() + output.groups["semantic"].start
            semantic = state.semantic.update(selected_logits(output, queries), len(done))
        if state.objects is not None:
            ids = state.objects.asked(len(output.object_slices))
            logits = state.objects.blended(output, _object_logits(output, ids), start)
            objects = state.objects.update(logits, start, num_frames, len(done), last=last)
        finished = _Finished(start, instances, semantic, objects)
        return (self._frame(state, finished, t) for t in done)

    def skip(
        self, num_frames: int, state: TarViSState, *, last: bool = False
    ) -> Iterator[tuple[FrameResult, ...]]:
        """Let frames pass in which there is nothing to look for; else as ``merge``."""
        start = state.finished
        nothing = LogitRows.none(num_frames)
        if start < state.next_start:
            state.finished += num_frames
            done, objects = range(num_frames), nothing
        else:
            done = state.advance(num_frames, self.overlap, last=last)
            assert state.objects is not None
            objects = state.objects.update({}, start, num_frames, len(done), last=last)
        finished = _Finished(start, nothing, nothing, objects)
        return (self._frame(state, finished, t) for t in done)

    def summary(self, state: TarViSState) -> tuple[list[TrackSummary], ...]:
        """Return the final label and score of every track that some frame shows, a list a task.

        VPS keeps the tracks of things above ``min_score``. Objects of hints have neither.
        """
        return tuple(
            [TrackSummary(i) for i in task.object_ids]
            if isinstance(task, HintTask)
            else self._track_summaries(state)
            for task in self.tasks
        )

    def _check_settings(self) -> None:
        check_clips("TarViSPolicy", self.clip_length, self.overlap, self.short_side)
        check_propagation("TarViSPolicy", self.propagation)
        if self._hinted and self.overlap == 0:
            raise ValueError(
                "TarViSPolicy: overlap must be at least 1 for tasks with hints, whose objects go "
                f"from clip to clip by the shared frames; got 0 with clip_length {self.clip_length}"
            )

    def _check_output(self, output: ClipOutput, state: TarViSState, *, last: bool) -> None:
        """Raise before anything is changed by an output that does not belong to the next clip."""
        check_next("TarViSPolicy", output, state, self.overlap, last=last)
        if state.instances is not None:
            self._class_logits(output)
        if state.objects is not None:
            state.objects.asked(len(output.object_slices))

    @property
    def _classes(self) -> Vocabulary:
        assert self._vocabulary is not None
        return self._vocabulary

    def _class_logits(self, output: ClipOutput) -> Tensor:
        return class_logits_of("TarViSPolicy", output, self._classes)

    def _frame(self, state: TarViSState, finished: _Finished, t: int) -> tuple[FrameResult, ...]:
        return tuple(
            self._object_result(n, state, finished, t)
            if n in self._hinted
            else self._category_result(state, finished, t)
            for n in range(len(self.tasks))
        )

    def _object_result(
        self, n: int, state: TarViSState, finished: _Finished, t: int
    ) -> FrameResult:
        assert state.objects is not None
        ids = self._hinted[n].object_ids
        masks = state.objects.masks(n, finished.objects, t)
        return FrameResult(finished.start + t, ids, masks, (None,) * len(ids), (None,) * len(ids))

    def _category_result(self, state: TarViSState, finished: _Finished, t: int) -> FrameResult:
        assert state.instances is not None
        ids, logits = finished.instances.frame(t)
        masks = full_size_masks(logits, state.model_size, state.size)
        shown = np.flatnonzero(masks.any(axis=(1, 2))).tolist()
        tracks = [state.instances.tracks[ids[n]] for n in shown]
        for track in tracks:
            track.visible = True
        semantic = None
        if state.semantic is not None:
            semantic = class_map(finished.semantic, t, state.model_size, state.size)
        return FrameResult(
            finished.start + t,
            tuple(ids[n] for n in shown),
            masks[shown],
            tuple(self._label(track) for track in tracks),
            tuple(track.score for track in tracks),
            semantic,
            self._vocabulary,
        )

    def _label(self, track: InstanceTrack) -> str | None:
        """The class name of a track as known so far; None for what VPS does not count."""
        return self._classes.classes[track.label] if self._is_counted(track) else None

    def _is_counted(self, track: InstanceTrack) -> bool:
        if not isinstance(self._category, VPS):
            return True
        counted = track.score > max(self.min_score, track.probabilities[-1])
        return counted and self._classes.is_thing(track.label)

    def _track_summaries(self, state: TarViSState) -> list[TrackSummary]:
        assert state.instances is not None
        return [
            TrackSummary(track_id, track.label, track.score, track.probabilities[:-1])
            for track_id, track in state.instances.tracks.items()
            if track.visible and self._is_counted(track)
        ]


def _settings_of(task: Task) -> ClipSettings:
    if isinstance(task, CategoryTask):
        return _OF_VOCABULARY.get(task.resolve().name, _OTHERWISE)
    return _OF_TASK.get(task.name, _OTHERWISE)


def _object_logits(output: ClipOutput, ids: Sequence[int]) -> dict[int, Tensor]:
    """Mask logits (T, h, w) of each object: it shows where any of its queries does."""
    logits: dict[int, Tensor] = {}
    for object_id, queries in zip(ids, output.object_slices, strict=True):
        here = selected_logits(output, queries).amax(dim=0)
        known = logits.get(object_id)
        logits[object_id] = here if known is None else torch.maximum(known, here)
    return logits
