"""What is remembered of prompted objects: tokens of their first frame and of the last ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class PromptTokens(NamedTuple):
    """Tokens (O, L, C) or (O, T, R, C) of objects, and the positions of their pixels."""

    features: Tensor
    positions: Tensor


class PromptMemory:
    """Hold the tokens of objects in the frame where each appeared, and in the last M frames.

    UniVS section 3.4. Every frame has a slot of R tokens an object, and inherits what the frame
    before it showed; a frame in which an object was found again is written, and the frames after it
    so far. Only the slots that are read are kept, so that memory does not grow with the video.

    Args:
        num_tokens: R.
        num_frames: M; official: the greater of the memory's setting and the frames of a clip.
        official_compat: leave the slots before an object was first written at 0, as the official
            code does, where they are attended to like tokens; those of objects that are found after
            the first clip begin with such a slot for good. The default fills them with what is
            written first.

    Example:
        >>> memory = PromptMemory(num_tokens=2, num_frames=3)
        >>> memory.advance(2)
        >>> memory.add(7, 0)
        >>> memory.write(7, 0, torch.ones(2, 8), torch.zeros(2, 8))
        >>> memory.tokens().features.shape
        torch.Size([1, 6, 8])
    """

    def __init__(
        self, *, num_tokens: int = 32, num_frames: int = 5, official_compat: bool = False
    ) -> None:
        if num_tokens < 1 or num_frames < 1:
            raise ValueError(
                "PromptMemory: num_tokens and num_frames must be at least 1, "
                f"got {num_tokens} and {num_frames}"
            )
        self.num_tokens = num_tokens
        self.num_frames = num_frames
        self.official_compat = official_compat
        self._rows: dict[int, _Row] = {}
        self._start = 0  # the first slot that is kept
        self._end = 0
        self._origin: int | None = None

    @property
    def ids(self) -> tuple[int, ...]:
        """The objects, in the order in which they were added."""
        return tuple(self._rows)

    @property
    def end(self) -> int:
        """The frame after the last one that has a slot."""
        return self._end

    def advance(self, end: int, *, start: int | None = None) -> None:
        """Make slots for the frames before ``end`` that have none yet; old ones are let go.

        Args:
            end: index in the video of the frame after the clip's last one.
            start: index of the first frame of all, where it is not 0; only the first call reads it.

        Raises:
            ValueError: ``end`` lies before the last slot.
        """
        if self._origin is None:
            self._origin = self._start = self._end = start or 0
        if end < self._end:
            raise ValueError(f"PromptMemory: end must be at least {self._end}, got {end}")
        new = end - self._end
        begin = max(self._origin, end - self.num_frames)
        for row in self._rows.values():
            row.shift(self._start, begin, new)
        self._start, self._end = begin, end

    def add(self, object_id: int, first_frame: int) -> None:
        """Add an object, with tokens of 0 until it is written.

        Args:
            object_id: distinct.
            first_frame: index in the video of the frame in which it appeared.

        Raises:
            ValueError: the id is there already, or no frame has a slot yet.
        """
        if object_id in self._rows:
            raise ValueError(f"PromptMemory: object {object_id} is there already")
        if self._end == self._start:
            raise ValueError("PromptMemory: advance to a frame before adding objects")
        self._rows[object_id] = _Row(first_frame, self._end - self._start)

    def remove(self, object_ids: Sequence[int]) -> None:
        """Forget objects."""
        for object_id in object_ids:
            del self._rows[object_id]

    def write(self, object_id: int, frame: int, features: Tensor, positions: Tensor) -> None:
        """Remember what an object looks like in a frame, and so far in those after it.

        Args:
            object_id: of an object that was added.
            frame: index in the video, of a frame that is kept.
            features: (R, C).
            positions: (R, C).

        Raises:
            ValueError: a frame without a slot, or another number of tokens.
        """
        if not self._start <= frame < self._end:
            raise ValueError(
                f"PromptMemory: frame must be from {self._start} to {self._end - 1}, got {frame}"
            )
        if features.shape != positions.shape or len(features) != self.num_tokens:
            raise ValueError(
                f"PromptMemory: features and positions must be ({self.num_tokens}, C), "
                f"got {tuple(features.shape)} and {tuple(positions.shape)}"
            )
        row = self._rows[object_id]
        tokens = torch.stack((features, positions))
        row.write(frame - self._start, tokens, fill=not self.official_compat)

    def tokens(self) -> PromptTokens:
        """Return all tokens of each object: those of its first frame, then of the last frames.

        Returns:
            (O, (1 + n) * R, C), n being M, or the number of slots as long as there are fewer. The
            first frame of an object that appeared in the last slot or later is that slot.

        Raises:
            ValueError: there are no objects.
        """
        slots = [
            torch.cat((row.first_slot(self._start, self._end)[:, None], row.slots), dim=1)
            for row in self._filled()
        ]
        return PromptTokens(*torch.stack(slots, dim=1).flatten(2, 3))

    def clip(self, start: int, num_frames: int) -> PromptTokens:
        """Return the tokens (O, T, R, C) of the slots of a clip.

        Args:
            start: index in the video of the clip's first frame.
            num_frames: T.

        Raises:
            ValueError: slots that are not kept, or no objects.
        """
        first = start - self._start
        if first < 0 or start + num_frames > self._end:
            raise ValueError(
                f"PromptMemory: frames {start} to {start + num_frames - 1} must be among those "
                f"that are kept, {self._start} to {self._end - 1}"
            )
        rows = [row.slots[:, first : first + num_frames] for row in self._filled()]
        return PromptTokens(*torch.stack(rows, dim=1))

    def _filled(self) -> list[_FilledRow]:
        """The rows, those that were never written with zeros."""
        written = next((row.slots for row in self._rows.values() if row.slots is not None), None)
        if written is None:
            raise ValueError("PromptMemory: no object has been written yet")
        shape = (2, self.num_tokens, written.shape[-1])
        return [row.filled(written, shape) for row in self._rows.values()]


class _FilledRow(NamedTuple):
    """The slots (2, n, R, C) of an object, features and positions; of its first frame if older."""

    first_frame: int
    slots: Tensor
    old: Tensor

    def first_slot(self, start: int, end: int) -> Tensor:
        if self.first_frame >= start:
            return self.slots[:, min(self.first_frame, end - 1) - start]
        return self.old


class _Row:
    """One object: its slots, None as long as all of them are 0."""

    def __init__(self, first_frame: int, num_slots: int) -> None:
        self.first_frame = first_frame
        self.num_slots = num_slots
        self.slots: Tensor | None = None
        self.old: Tensor | None = None

    def shift(self, start: int, begin: int, new: int) -> None:
        """Drop the slots before ``begin``, the first being ``start``, and append ``new`` ones."""
        dropped = begin - start
        if self.slots is not None:
            zeros = self.slots.new_zeros(2, new, *self.slots.shape[2:])
            if start <= self.first_frame < begin:
                place = self.first_frame - start
                if place < self.slots.shape[1]:
                    self.old = self.slots[:, place].clone()
            self.slots = torch.cat((self.slots, zeros), dim=1)[:, dropped:].contiguous()
        self.num_slots += new - dropped

    def write(self, place: int, tokens: Tensor, *, fill: bool) -> None:
        """Write the slots from ``place`` on; all of them, and the first one, where none was."""
        if self.slots is None:
            self.slots = tokens.new_zeros(2, self.num_slots, *tokens.shape[1:])
            if fill:
                self.slots[:] = tokens[:, None]
                self.old = tokens.clone()
        self.slots[:, place:] = tokens[:, None]

    def filled(self, like: Tensor, shape: tuple[int, ...]) -> _FilledRow:
        zeros = like.new_zeros(shape)
        slots = zeros[:, None].expand(-1, self.num_slots, -1, -1)
        return _FilledRow(
            self.first_frame,
            slots if self.slots is None else self.slots,
            zeros if self.old is None else self.old,
        )
