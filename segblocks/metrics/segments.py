"""Annotated and predicted segments of a video as small numbers, and how they overlap."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from segblocks.metrics.classes import class_indices, vocabulary_of
from segblocks.metrics.confusion import joint_counts
from segblocks.results import VideoSegmentation

if TYPE_CHECKING:
    from segblocks.data.sample import Truth, VideoSample

VOID = 0


@dataclass(frozen=True)
class Segments:
    """Describe the segments that a video may have; number 0 is void.

    Args:
        labels: (S,), class index in the dataset's vocabulary of each number, -1 for void.
        is_thing: (S,) bool, whether its class is a thing.
        is_crowd: (S,) bool, true of pixels of a thing that no single object of the annotation
            owns.
    """

    labels: NDArray[np.int64]
    is_thing: NDArray[np.bool_]
    is_crowd: NDArray[np.bool_]


@dataclass(frozen=True)
class SegmentPair:
    """Overlay what a video shows with what was predicted for it.

    The annotated segments are the K classes of the vocabulary, 1 to K, then its objects, in their
    order. Crowds, and pixels of a thing without an object, count to their class, which is then a
    crowd. The predicted segments are the classes of the semantic map, then the tracks.

    Args:
        truth: the annotated video; its semantic maps and objects.
        prediction: of a task with semantic maps.

    Raises:
        ValueError: no classes, or a class that the dataset lacks.
    """

    truth: VideoSample
    prediction: VideoSegmentation

    @property
    def annotated(self) -> Segments:
        """The annotated segments."""
        vocabulary = vocabulary_of(self.truth)
        own = [obj for obj in self.truth.objects if not obj.is_crowd]
        if lacking := [obj.id for obj in own if obj.label is None]:
            raise ValueError(f"video {self.truth.name!r}: objects {lacking} have no class")
        labels = [-1, *range(len(vocabulary)), *(int(obj.label or 0) for obj in own)]
        classes = [False] + [True] * len(vocabulary) + [False] * len(own)
        return self._segments(np.array(labels), np.array(classes))

    @property
    def predicted(self) -> Segments:
        """The predicted segments."""
        indices = class_indices(self.truth, self.prediction)
        vocabulary = self.prediction.vocabulary
        assert vocabulary is not None
        labels = [indices[vocabulary.index(label)] for _, label in self._tracks()]
        return self._segments(np.concatenate([[-1], indices, labels]).astype(np.int64), None)

    def counts(self) -> Iterator[NDArray[np.int64]]:
        """Yield, for each annotated frame, the pixels of each pair of segments.

        Yields:
            (S, R): of annotated segment s and predicted segment r.

        Raises:
            ValueError: a frame without a semantic map.
        """
        shape = (len(self.annotated.labels), len(self.predicted.labels))
        for t in self.truth.annotated:
            yield joint_counts(self._annotated_map(t), self._predicted_map(t), shape)

    def _annotated_map(self, t: int) -> NDArray[np.int64]:
        truth = self.truth.read_truth(t)
        if truth.semantic is None:
            raise ValueError(f"video {self.truth.name!r} has no semantic map at frame {t}")
        segments = truth.semantic.astype(np.int64) + 1
        shown = dict(zip(truth.ids, truth.masks, strict=True))
        for obj in self.truth.objects:
            if obj.is_crowd and obj.id in shown and obj.label is not None:
                segments[shown[obj.id]] = obj.label + 1
        own = (obj for obj in self.truth.objects if not obj.is_crowd)
        for number, obj in enumerate(own, len(vocabulary_of(self.truth)) + 1):
            if obj.id in shown:
                segments[shown[obj.id]] = number
        return _without(segments, truth)

    def _predicted_map(self, t: int) -> NDArray[np.int64]:
        values = self.prediction.panoptic(t).ids
        assert self.prediction.vocabulary is not None
        num_classes = len(self.prediction.vocabulary)
        # Track ids may be any numbers; what follows the classes is counted by their order.
        known = np.array([num_classes + track for track, _ in self._tracks()], dtype=np.int64)
        order = np.argsort(known)
        of_track = values > num_classes
        segments = values.astype(np.int64)
        rank = np.searchsorted(known[order], segments[of_track])
        segments[of_track] = order[rank] + num_classes + 1
        return segments

    def _tracks(self) -> list[tuple[int, str]]:
        return [(t.id, t.label) for t in self.prediction.tracks if t.label is not None]

    def _segments(self, labels: NDArray[np.int64], classes: NDArray[np.bool_] | None) -> Segments:
        vocabulary = vocabulary_of(self.truth)
        is_thing = np.array([label >= 0 and vocabulary.is_thing(int(label)) for label in labels])
        is_crowd = is_thing & classes if classes is not None else np.zeros_like(is_thing)
        return Segments(labels, is_thing, is_crowd)


def _without(segments: NDArray[np.int64], truth: Truth) -> NDArray[np.int64]:
    if truth.ignore is not None:
        segments[truth.ignore] = VOID
    return segments
