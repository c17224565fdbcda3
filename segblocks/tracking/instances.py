"""Tracks of instances that are found anew in every clip (VIS, and the things of VPS)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segblocks.tracking.linking import link_masks
from segblocks.tracking.overlap import LogitRows, join


def select_instances(
    class_logits: Tensor, *, max_instances: int | None = None, min_score: float = 0.0
) -> Tensor:
    """Choose the queries of one clip that are taken for instances.

    Args:
        class_logits: (Q, K + 1), no-object last.
        max_instances: keep at most so many, those of the highest scores.
        min_score: keep only queries whose score, the greatest softmax probability of a class other
            than no-object, is above this.

    Returns:
        Indices of queries by descending score.

    Example:
        >>> select_instances(torch.tensor([[0.0, 9.0], [9.0, 0.0], [1.0, 0.0]]), min_score=0.5)
        tensor([1, 2])
    """
    scores = class_logits.float().softmax(dim=-1)[:, :-1].amax(dim=-1)
    order = scores.argsort(descending=True, stable=True)
    return order[scores[order] > min_score][:max_instances]


@dataclass
class InstanceTrack:
    """What is remembered of a track for good: one row of class logits, however long it is.

    Args:
        logit_sum: (K + 1,), no-object last, summed over clips.
        num_clips: that it was found in.
        visible: whether any frame that has left shows a pixel of it.
    """

    logit_sum: NDArray[np.float64]
    num_clips: int
    visible: bool = False

    @property
    def probabilities(self) -> NDArray[np.float64]:
        """Softmax of the mean class logits, (K + 1,), no-object last."""
        mean = self.logit_sum / self.num_clips
        exponents = np.exp(mean - mean.max())
        return exponents / exponents.sum()

    @property
    def label(self) -> int:
        """The class of the highest probability, no-object aside."""
        return int(self.probabilities[:-1].argmax())

    @property
    def score(self) -> float:
        """The probability of ``label``."""
        return float(self.probabilities[:-1].max())


class InstanceTracker:
    """Link the instances of successive clips into tracks, by their masks on the shared frames.

    The class logits of a track are the mean over its clips; its mask logits on frames that two
    clips share are their mean too. A track that no instance of the next clip continues has ended.

    Args:
        max_per_clip: instances that are kept of a clip; None keeps all (official: 10 for VIS).
        min_score: of an instance in a clip (official: 0 for VIS, 0.5 for VPS).
        official_compat: as the official TarViS code, let the earlier clip alone decide on shared
            frames, and link instances that have no pixel there.
    """

    def __init__(
        self,
        *,
        max_per_clip: int | None = None,
        min_score: float = 0.0,
        official_compat: bool = False,
    ) -> None:
        self.max_per_clip = max_per_clip
        self.min_score = min_score
        self.official_compat = official_compat
        self.tracks: dict[int, InstanceTrack] = {}
        self._num_tracks = 0
        self._window = LogitRows.none(0)

    def update(
        self, class_logits: Tensor, mask_logits: Callable[[Tensor], Tensor], num_done: int
    ) -> LogitRows:
        """Take in a clip.

        Args:
            class_logits: (Q, K + 1), no-object last.
            mask_logits: from the indices of n queries to their logits (n, T, h, w); only those
                that are kept are asked for.
            num_done: frames of the clip that no later clip holds.

        Returns:
            The logits of the tracks over these frames.
        """
        kept = select_instances(
            class_logits, max_instances=self.max_per_clip, min_score=self.min_score
        )
        return self.follow(kept, class_logits, mask_logits, num_done)[1]

    def follow(
        self,
        kept: Tensor,
        class_logits: Tensor,
        mask_logits: Callable[[Tensor], Tensor],
        num_done: int,
    ) -> tuple[list[int], LogitRows]:
        """Take in a clip of which the caller chose the queries.

        Args:
            kept: indices of queries, all different.
            class_logits: as in :meth:`update`.
            mask_logits: as in :meth:`update`.
            num_done: as in :meth:`update`.

        Returns:
            The track of each of ``kept``, and the logits of the tracks over the finished frames.
        """
        logits = mask_logits(kept)
        ids = self._link(logits[:, : self._window.num_frames] > 0)
        rows = class_logits[kept].cpu().double().numpy()
        for track_id, row in zip(ids, rows, strict=True):
            track = self.tracks.setdefault(track_id, InstanceTrack(np.zeros_like(row), 0))
            track.logit_sum += row
            track.num_clips += 1
        clip = LogitRows.of_clip(ids, logits)
        if self.official_compat:
            frames = torch.arange(clip.num_frames, device=logits.device)
            clip = clip.hide(frames < self._window.num_frames)
        finished, self._window = join(self._window, clip).split(num_done)
        return ids, finished

    def forget_ended(self) -> None:
        """Drop the tracks that no later clip can continue, once their frames have left."""
        self.tracks = {i: self.tracks[i] for i in self._window.ids}

    def _link(self, masks: Tensor) -> list[int]:
        """The track of each instance, from its masks on the frames of the window."""
        previous = self._window
        links: Sequence[int | None] = [None] * len(masks)
        if previous.ids and len(masks):
            links = link_masks(previous.masks, masks, link_empty=self.official_compat)
        ids = []
        for link in links:
            self._num_tracks += link is None
            ids.append(self._num_tracks if link is None else previous.ids[link])
        return ids
