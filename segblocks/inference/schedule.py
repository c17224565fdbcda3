"""Cutting a video of unknown length into clips that overlap."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Clip(Generic[T]):
    """A clip of a video, given by what it adds to the clip before.

    Args:
        start: index in the video of its first frame.
        num_shared: how many of its frames, the first ones, are the last ones of the clip before.
        new: the frames that follow these; at least one.
        last: whether the video ends with it.
    """

    start: int
    num_shared: int
    new: tuple[T, ...]
    last: bool

    @property
    def num_frames(self) -> int:
        """Shared and new ones together."""
        return self.num_shared + len(self.new)


def schedule_clips(
    frames: Iterable[T], clip_length: int, overlap: int, *, start: int = 0
) -> Iterator[Clip[T]]:
    """Cut frames into clips, reading no further than one frame beyond the clip that is given out.

    That one frame tells whether the clip is the last, which may be shorter. All others have
    ``clip_length`` frames, of which the next one repeats ``overlap``.

    Args:
        frames: of any number; none gives no clip.
        clip_length: frames of a clip.
        overlap: frames that successive clips share.
        start: index in the video of the first of ``frames``.

    Raises:
        ValueError: ``overlap`` is not from 0 to ``clip_length - 1``.

    Example:
        >>> [(c.start, c.num_shared, c.new, c.last) for c in schedule_clips("abcde", 4, 2)]
        [(0, 0, ('a', 'b', 'c', 'd'), False), (2, 2, ('e',), True)]
    """
    if not 0 <= overlap < clip_length:
        raise ValueError(
            f"overlap must be from 0 to clip_length - 1, got {overlap} with clip_length "
            f"{clip_length}"
        )
    return _clips(iter(frames), clip_length, overlap, start)


def _clips(frames: Iterator[T], clip_length: int, overlap: int, start: int) -> Iterator[Clip[T]]:
    num_shared = 0
    new: list[T] = []
    for frame in frames:
        if num_shared + len(new) >= clip_length:
            yield Clip(start, num_shared, tuple(new), last=False)
            start, num_shared, new = start + clip_length - overlap, overlap, []
        new.append(frame)
    if new:
        yield Clip(start, num_shared, tuple(new), last=True)
