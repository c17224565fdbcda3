"""How Mask2Former-VIS goes through a video: whole, or in clips that overlap."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from segblocks.nn.clip_output import ClipOutput
from segblocks.results import FrameResult, TrackSummary
from segblocks.tasks import CategoryTask, Task, as_tasks
from segblocks.tracking.clips import check_clips, check_next, class_logits_of, selected_logits
from segblocks.tracking.full_size import full_size_masks
from segblocks.tracking.labelled import LabelledTracker
from segblocks.tracking.overlap import LogitRows
from segblocks.tracking.policy import Resizing, VideoState

WHOLE_VIDEO = sys.maxsize
"""A clip length that no video reaches."""

_SHORT_SIDE = 360
_LONG_SIDE = 1333
_NAME = "Mask2FormerVISPolicy"


@dataclass
class Mask2FormerVISState(VideoState):
    """What Mask2Former-VIS remembers of a video.

    Args:
        instances: tracks so far.
    """

    instances: LabelledTracker = field(default_factory=LabelledTracker)


class Mask2FormerVISPolicy:
    """Take a whole video for one clip, as the official code does, or go through it in clips.

    All pairs of a query and a class are ranked by their softmax score, no-object aside, and the
    ten best are the result: a query in doubt comes twice, with the same masks. Scores are those of
    the classes alone. In clips, the ten best of each are linked by their masks on the shared
    frames, where mask logits are averaged, as class logits are over the clips of a track.

    The whole video in one pass needs memory for all frames at once. For long videos, and for
    streams without end, set ``clip_length``.

    Implements :class:`~segblocks.tracking.policy.VideoPolicy`.

    Args:
        tasks: one VIS task.
        clip_length: frames of a clip; None takes the whole video (official).
        overlap: frames that successive clips share; default: half of a clip.
        short_side: resize frames to this short side; 0 leaves them as they are (official: 360 with
            ResNet-50, 480 with Swin).
        long_side: the longest that the long side gets by that (official: 1333).
        max_instances: pairs of a query and a class taken from one clip (official: 10).
        official_compat: keep tracks that no frame shows a pixel of, as the official code does,
            although they can only count as wrong.

    Raises:
        ValueError: several tasks, an overlap that is not from 0 to clip_length - 1, or a negative
            short side.

    Example:
        >>> from segblocks.tasks import VIS
        >>> policy = Mask2FormerVISPolicy(VIS("ovis"), clip_length=12)
        >>> policy.clip_length, policy.overlap, policy.short_side
        (12, 6, 360)
    """

    resizing: Resizing = "pillow"

    def __init__(
        self,
        tasks: Task | Sequence[Task],
        *,
        clip_length: int | None = None,
        overlap: int | None = None,
        short_side: int | None = None,
        long_side: int = _LONG_SIDE,
        max_instances: int = 10,
        official_compat: bool = False,
    ) -> None:
        self.tasks = as_tasks(tasks)
        if len(self.tasks) != 1 or not isinstance(self.tasks[0], CategoryTask):
            raise ValueError(f"{_NAME}: tasks must be one VIS task, got {list(self.tasks)}")
        self._vocabulary = self.tasks[0].resolve()
        half = 0 if clip_length is None else clip_length // 2
        self.clip_length = WHOLE_VIDEO if clip_length is None else clip_length
        self.overlap = half if overlap is None else overlap
        self.short_side = (_SHORT_SIDE if short_side is None else short_side) or None
        self.long_side = long_side
        self.max_instances = max_instances
        self.official_compat = official_compat
        check_clips(_NAME, self.clip_length, self.overlap, self.short_side)
        if max_instances < 1:
            raise ValueError(f"{_NAME}: max_instances must be at least 1, got {max_instances}")

    def start(self, size: tuple[int, int], model_size: tuple[int, int]) -> Mask2FormerVISState:
        """Begin a video of frames of ``size``, shown to the model at ``model_size``."""
        instances = LabelledTracker(max_per_clip=self.max_instances)
        return Mask2FormerVISState(size, model_size, instances=instances)

    def hints(self, state: Mask2FormerVISState, num_frames: int | None = None) -> list[Task] | None:
        """Return the task, which is the same for every clip."""
        return list(self.tasks)

    def merge(
        self, output: ClipOutput, state: Mask2FormerVISState, *, last: bool = False
    ) -> Iterator[tuple[FrameResult, ...]]:
        """Take in a clip, and return the frames that are finished now."""
        check_next(_NAME, output, state, self.overlap, last=last)
        class_logits = class_logits_of(_NAME, output, self._vocabulary)
        start = state.next_start
        done = state.advance(len(output.frame_indices), self.overlap, last=last)
        if not state.summarised:
            state.instances.forget_ended()
        first = output.groups["instance"].start
        finished = state.instances.update(
            class_logits, lambda queries: selected_logits(output, queries + first), len(done)
        )
        return ((self._frame(state, finished, start, t),) for t in done)

    def skip(
        self, num_frames: int, state: Mask2FormerVISState, *, last: bool = False
    ) -> Iterator[tuple[FrameResult, ...]]:
        """Never asked for: there is something to look for in every clip.

        Raises:
            ValueError: always.
        """
        raise ValueError(f"{_NAME}: no clip is skipped, got {num_frames} frames to skip")

    def summary(self, state: Mask2FormerVISState) -> tuple[list[TrackSummary], ...]:
        """Return the final label and score of every track."""
        return (
            [
                TrackSummary(number, track.label, track.score, track.instance.probabilities[:-1])
                for number, track in state.instances.tracks.items()
                if track.visible or self.official_compat
            ],
        )

    def _frame(
        self, state: Mask2FormerVISState, finished: LogitRows, start: int, t: int
    ) -> FrameResult:
        instances, logits = finished.frame(t)
        masks = full_size_masks(logits, state.model_size, state.size)
        shown = np.flatnonzero(masks.any(axis=(1, 2))).tolist()
        rows = {n: row for row in shown for n in state.instances.tracks_of(instances[row])}
        numbers = sorted(rows)
        tracks = [state.instances.tracks[n] for n in numbers]
        for track in tracks:
            track.visible = True
        return FrameResult(
            start + t,
            tuple(numbers),
            masks[[rows[n] for n in numbers]],
            tuple(self._vocabulary.classes[track.label] for track in tracks),
            tuple(track.score for track in tracks),
            None,
            self._vocabulary,
        )
