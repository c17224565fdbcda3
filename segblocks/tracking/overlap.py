"""Joining the logits of clips that share frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class LogitRows:
    """Mask logits of tracks, classes or objects (rows) over some consecutive frames.

    Args:
        ids: one distinct number a row, N of them.
        logits: (N, T, h, w).
        counts: (N, T), how many clips each logit map is the mean of; 0 where the row has none at
            that frame, whatever ``logits`` hold there.

    Example:
        >>> rows = LogitRows.of_clip((7,), torch.ones(1, 2, 4, 4))
        >>> first, rest = rows.split(1)
        >>> rest.num_frames, rest.frame(0)[0]
        (1, (7,))
    """

    ids: tuple[int, ...]
    logits: Tensor
    counts: Tensor

    @classmethod
    def of_clip(cls, ids: Sequence[int], logits: Tensor) -> LogitRows:
        """Make rows of what one clip says, (N, T, h, w)."""
        return cls(tuple(ids), logits, logits.new_ones(logits.shape[:2]))

    @classmethod
    def none(cls, num_frames: int) -> LogitRows:
        """Make no rows over this many frames."""
        return cls.of_clip((), torch.zeros(0, num_frames, 1, 1))

    @property
    def num_frames(self) -> int:
        """T."""
        return self.logits.shape[1]

    @property
    def masks(self) -> Tensor:
        """The binary masks (N, T, h, w): logit > 0, and empty where a row has no logits."""
        return (self.logits > 0) & (self.counts > 0)[..., None, None]

    def hide(self, where: Tensor) -> LogitRows:
        """Forget the logits where ``where``, broadcastable to (N, T), is True."""
        return replace(self, counts=self.counts.masked_fill(where, 0))

    def split(self, at: int) -> tuple[LogitRows, LogitRows]:
        """Part the first ``at`` frames from the rest.

        The rest is a copy, so that it does not keep the whole clip in memory, without the rows
        that have no logits in it.
        """
        first = replace(self, logits=self.logits[:, :at], counts=self.counts[:, :at])
        there = (self.counts[:, at:] > 0).any(dim=1).tolist()
        kept = [row for row, is_there in enumerate(there) if is_there]
        rest = LogitRows(
            tuple(self.ids[row] for row in kept),
            self.logits[kept, at:].clone(),
            self.counts[kept, at:].clone(),
        )
        return first, rest

    def frame(self, t: int) -> tuple[tuple[int, ...], Tensor]:
        """Return the ids of the n rows that have logits at frame ``t``, and these, (n, h, w)."""
        kept = [row for row, count in enumerate(self.counts[:, t].tolist()) if count]
        return tuple(self.ids[row] for row in kept), self.logits[kept, t]


def join(earlier: LogitRows, later: LogitRows) -> LogitRows:
    """Join what is known of a clip's first frames with what the clip itself says.

    Where both have logits, the result is the mean over all the clips that it came from; where one
    has, it is that. Rows are the same where their ids are.

    Args:
        earlier: over the frames that the clip shares with those before it, at most T.
        later: over the clip's T frames.

    Returns:
        Rows over T frames: those of ``earlier``, then the new ones of ``later``.

    Raises:
        ValueError: ``earlier`` has more frames, or logits of another size.

    Example:
        >>> a = LogitRows.of_clip((1,), torch.full((1, 1, 2, 2), 4.0))
        >>> b = LogitRows.of_clip((1,), torch.full((1, 2, 2, 2), 2.0))
        >>> join(a, b).logits[0, :, 0, 0]
        tensor([3., 2.])
    """
    shared = earlier.num_frames
    if shared > later.num_frames:
        raise ValueError(f"join: earlier must have at most {later.num_frames} frames, got {shared}")
    if not earlier.ids or not shared:
        return later
    if later.ids and earlier.logits.shape[2:] != later.logits.shape[2:]:
        raise ValueError(
            f"join: logits of both clips must have one size, got {tuple(earlier.logits.shape[2:])} "
            f"and {tuple(later.logits.shape[2:])}"
        )
    ids = tuple(dict.fromkeys(earlier.ids + later.ids))
    row = {row_id: i for i, row_id in enumerate(ids)}
    old, new = [row[i] for i in earlier.ids], [row[i] for i in later.ids]
    shape = (len(ids), later.num_frames)
    total = earlier.logits.new_zeros(*shape, *earlier.logits.shape[2:])
    counts = earlier.counts.new_zeros(shape)
    if new:
        total[new] = later.logits
        counts[new] = later.counts
    total[:, :shared] *= counts[:, :shared, None, None]
    total[old, :shared] += earlier.logits * earlier.counts[..., None, None]
    counts[old, :shared] += earlier.counts
    total[:, :shared] /= counts[:, :shared, None, None].clamp(min=1)
    return LogitRows(ids, total, counts)
