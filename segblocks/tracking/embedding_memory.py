"""What objects looked like to the decoder in the last frames, to tell whether they still do."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

# Newer frames count more: weights exp(5 t / M) of the last M frames (official).
_HASTE = 5.0


class EmbeddingMemory:
    """Hold the embeddings of objects in the last M frames, the mean over the clips of a frame.

    Args:
        num_frames: M.

    Example:
        >>> memory = EmbeddingMemory(3)
        >>> memory.update([7], torch.ones(1, 2, 8), 0)
        >>> memory.consistency([7, 8], torch.ones(2, 2, 8)).round()
        tensor([1., 1.])
    """

    def __init__(self, num_frames: int = 5) -> None:
        if num_frames < 1:
            raise ValueError(f"EmbeddingMemory: num_frames must be at least 1, got {num_frames}")
        self.num_frames = num_frames
        self._end = 0
        self._sums: dict[int, Tensor] = {}
        self._counts: dict[int, Tensor] = {}

    def update(self, object_ids: Sequence[int], embeddings: Tensor, start: int) -> None:
        """Take in a clip.

        Args:
            object_ids: O of them, all different.
            embeddings: (O, T, C).
            start: index in the video of the clip's first frame; clips come in order.
        """
        num_frames = embeddings.shape[1]
        self._advance(start + num_frames)
        first = start - (self._end - self.num_frames)
        cut = max(0, -first)
        for object_id, own in zip(object_ids, embeddings.detach()[:, cut:].float(), strict=True):
            if object_id not in self._sums:
                self._sums[object_id] = own.new_zeros(self.num_frames, own.shape[-1])
                self._counts[object_id] = own.new_zeros(self.num_frames, 1)
            place = slice(first + cut, first + num_frames)
            self._sums[object_id][place] += own
            self._counts[object_id][place] += 1

    def last(self, object_ids: Sequence[int], num_frames: int, like: Tensor) -> Tensor:
        """Return the embeddings (O, n, C) of the last frames, 0 where there are none.

        Args:
            object_ids: O of them.
            num_frames: n, at most M.
            like: tells C, type and device.
        """
        shape = (self.num_frames, like.shape[-1])
        rows = [
            self._sums[i] / self._counts[i].clamp(min=1)
            if i in self._sums
            else like.new_zeros(shape)
            for i in object_ids
        ]
        if not rows:
            return like.new_zeros(0, num_frames, like.shape[-1])
        return torch.stack([row.to(like.dtype) for row in rows])[:, -num_frames:]

    def consistency(self, object_ids: Sequence[int], embeddings: Tensor) -> Tensor:
        """Compare objects in a clip with what they were.

        Args:
            object_ids: O of them.
            embeddings: (O, T, C).

        Returns:
            (O,): the cosine between remembered and new embeddings, the mean over the clip's frames
            and the weighted mean over the remembered ones; 1 for an object without any.
        """
        embeddings = embeddings.float()
        known = self.last(object_ids, self.num_frames, embeddings)
        there = (known != 0).any(dim=-1)
        times = torch.arange(1, self.num_frames + 1, device=embeddings.device)
        weights = (_HASTE * times / self.num_frames).exp() * there
        weights = weights / weights.sum(dim=1, keepdim=True).clamp(min=1e-6)
        cosines = torch.einsum(
            "ovc,otc->ov", F.normalize(known, dim=-1), F.normalize(embeddings, dim=-1)
        )
        mean = (cosines / embeddings.shape[1] * weights).sum(dim=1)
        return torch.where(there.any(dim=1), mean, 1.0)

    def remove(self, object_ids: Sequence[int]) -> None:
        """Forget objects."""
        for object_id in object_ids:
            self._sums.pop(object_id, None)
            self._counts.pop(object_id, None)

    def _advance(self, end: int) -> None:
        shift = max(0, end - self._end)
        self._end += shift
        for held in (self._sums, self._counts):
            for object_id, rows in held.items():
                fresh = torch.zeros_like(rows)
                if shift < self.num_frames:
                    fresh[: self.num_frames - shift] = rows[shift:]
                held[object_id] = fresh
