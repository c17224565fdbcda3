"""How inference talks to a system: which clips, what to ask of each, how to join the answers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, Protocol, TypeVar

from segblocks.nn.clip_output import ClipOutput
from segblocks.results import FrameResult, TrackSummary
from segblocks.tasks import Task

Resizing = Literal["opencv", "pillow"]
"""Whose bilinear resizing the frames of a video get; see ``inference.frame_size``."""


@dataclass
class VideoState:
    """Everything that is remembered of one video between two clips.

    A system adds its own fields. They may hold logits of the overlap frames only, so that memory
    does not grow with the video.

    Args:
        size: (H, W) of the frames as decoded.
        model_size: (h, w) of the frames as the model gets them, before padding.
        next_start: index in the video of the first frame of the next clip.
        finished: how many frames have left; they are the first ones of the video.
        summarised: whether ``summary`` will be asked for. Where not, a policy may forget what
            only the summary needs, so that a stream without end needs no more than a short one.
    """

    size: tuple[int, int]
    model_size: tuple[int, int]
    next_start: int = 0
    finished: int = 0
    summarised: bool = True

    def advance(self, num_frames: int, overlap: int, *, last: bool) -> range:
        """Step over a clip and return its frames that no later clip holds, as clip-local indices.

        Args:
            num_frames: of the clip.
            overlap: how many of its last frames the next clip holds too.
            last: whether no clip follows.
        """
        done = num_frames if last else num_frames - overlap
        self.next_start += done
        self.finished = self.next_start
        return range(done)


StateT = TypeVar("StateT", bound=VideoState)


class VideoPolicy(Protocol[StateT]):
    """Plan the clips of a video and join what the model says about them.

    For one video, inference calls ``start``, then for each clip either ``hints``, the model and
    ``merge``, or (where ``hints`` returns None) ``skip``, and at the end ``summary``. A policy
    itself remembers nothing of a video: all that lies in the state.

    It may also have ``resizing``, "opencv" without one: as which library frames are resized, with
    "pillow" for systems that grew on detectron2.

    Attributes:
        clip_length: frames of a clip; the last one of a video may be shorter.
        overlap: how many frames a clip shares with the one before it.
        short_side: the frames' shorter side is resized to this many pixels; None leaves them.
        long_side: but the longer side gets at most this many; None sets no limit.
    """

    clip_length: int
    overlap: int
    short_side: int | None
    long_side: int | None

    def start(self, size: tuple[int, int], model_size: tuple[int, int]) -> StateT:
        """Begin a video.

        Args:
            size: (H, W) of the frames as decoded.
            model_size: (h, w) after resizing.

        Returns:
            Its state. Where ``next_start`` is not 0, the frames before it are in no clip: they are
            let pass by ``skip``, any number of them at a time.
        """
        ...

    def hints(self, state: StateT, num_frames: int | None = None) -> list[Task] | None:
        """Say what to ask of the next clip.

        Args:
            state: of the video.
            num_frames: of the clip; None for ``clip_length``.

        Returns:
            Tasks whose hints are clip-local and fit ``model_size``, or None where there is nothing
            to look for in this clip.
        """
        ...

    def merge(
        self, output: ClipOutput, state: StateT, *, last: bool = False
    ) -> Iterator[tuple[FrameResult, ...]]:
        """Take in what the model says about the next clip.

        Args:
            output: for a batch of one clip.
            state: of the video; changed at once.
            last: whether no clip follows.

        Returns:
            The frames that are finished now, in order, one result a task. Each is made when it is
            asked for, and all have to be asked for before the next clip.
        """
        ...

    def skip(
        self, num_frames: int, state: StateT, *, last: bool = False
    ) -> Iterator[tuple[FrameResult, ...]]:
        """Let frames pass that the model is not asked about; else as ``merge``.

        Args:
            num_frames: of the clip that is skipped, or of those before the first clip.
            state: of the video.
            last: whether no clip follows.
        """
        ...

    def summary(self, state: StateT) -> tuple[list[TrackSummary], ...]:
        """Return the final label and score of every track, one list a task."""
        ...
