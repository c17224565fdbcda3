"""Tracks of which one mask may count under several classes (Mask2Former-VIS)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from segblocks.tracking.instances import InstanceTrack, InstanceTracker
from segblocks.tracking.overlap import LogitRows


def select_labelled(class_logits: Tensor, max_instances: int) -> tuple[Tensor, Tensor]:
    """Choose the best pairs of a query and a class in a clip.

    Mask2Former ranks all pairs by their softmax score, so that a query in doubt comes twice, with
    either class. Of equal scores the earlier query wins, then the earlier class.

    Args:
        class_logits: (Q, K + 1), no-object last.
        max_instances: at most so many pairs.

    Returns:
        Queries and classes of the pairs, by descending score.

    Example:
        >>> select_labelled(torch.tensor([[2.0, 1.0, 0.0], [9.0, 0.0, 0.0]]), 3)
        (tensor([1, 0, 0]), tensor([0, 0, 1]))
    """
    scores = class_logits.float().softmax(dim=-1)[:, :-1]
    num_classes = scores.shape[1]
    best = scores.flatten().argsort(descending=True, stable=True)[:max_instances]
    return best // num_classes, best % num_classes


@dataclass
class LabelledTrack:
    """An instance under one of its classes.

    Args:
        instance: the instance; it may be another track too, under another class.
        label: index of the class.
        visible: whether any frame that has left shows a pixel of it.
    """

    instance: InstanceTrack
    label: int
    visible: bool = False

    @property
    def score(self) -> float:
        """The softmax probability of the class, from the mean of the clips' logits."""
        return float(self.instance.probabilities[self.label])


class LabelledTracker:
    """Link the instances of successive clips, each under every class that a clip ranked it by.

    Instances are linked by :class:`InstanceTracker`, whatever their classes. An instance is a track
    of its own under each class by which it was once among the best of a clip.

    Args:
        max_per_clip: pairs of a query and a class that are kept of a clip (official: 10).
    """

    def __init__(self, *, max_per_clip: int = 10) -> None:
        self.max_per_clip = max_per_clip
        self.tracks: dict[int, LabelledTrack] = {}
        self._instances = InstanceTracker()
        self._ids: dict[int, dict[int, int]] = {}  # instance -> class -> track
        self._num_tracks = 0

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
            The logits of the instances over these frames; :meth:`tracks_of` names their tracks.
        """
        queries, labels = select_labelled(class_logits, self.max_per_clip)
        pairs = list(zip(queries.tolist(), labels.tolist(), strict=True))
        kept = list(dict.fromkeys(query for query, _ in pairs))
        indices = torch.tensor(kept, dtype=torch.long, device=class_logits.device)
        found, finished = self._instances.follow(indices, class_logits, mask_logits, num_done)
        instances = dict(zip(kept, found, strict=True))
        for query, label in pairs:
            known = self._ids.setdefault(instances[query], {})
            if label not in known:
                self._num_tracks += 1
                known[label] = self._num_tracks
                track = LabelledTrack(self._instances.tracks[instances[query]], label)
                self.tracks[self._num_tracks] = track
        return finished

    def tracks_of(self, instance: int) -> Iterator[int]:
        """The ids of an instance's tracks."""
        return iter(self._ids[instance].values())

    def forget_ended(self) -> None:
        """Drop the tracks that no later clip can continue, once their frames have left."""
        self._instances.forget_ended()
        self._ids = {i: self._ids[i] for i in self._instances.tracks}
        self.tracks = {n: self.tracks[n] for known in self._ids.values() for n in known.values()}
