"""Panoptic maps: one segment for every pixel, things over stuff."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from segblocks.text.vocabulary import Vocabulary


@dataclass(frozen=True)
class Segment:
    """Describe one segment of a panoptic map.

    Args:
        id: its value in the map; the same in every frame of the video.
        label: class name.
        is_thing: whether the class is a thing.
        score: of the track; None for stuff.
        track_id: of the track; None for what the semantic map alone says.
    """

    id: int
    label: str
    is_thing: bool
    score: float | None
    track_id: int | None


class Panoptic(NamedTuple):
    """Give each pixel one segment.

    ``ids`` is (H, W) int32, 0 where nothing is; ``segments`` describes the other values, ascending
    by id, and only those that have a pixel.
    """

    ids: NDArray[np.int32]
    segments: list[Segment]


def paint_panoptic(
    semantic: NDArray[np.int32],
    vocabulary: Vocabulary,
    objects: Iterable[tuple[int, NDArray[np.bool_], str | None, float | None]],
) -> Panoptic:
    """Paint the things over the semantic map, as TarViS does.

    Objects whose label is a thing are painted by ascending score, so that the higher one is on top;
    all else shows the semantic map. The value of a class of the map is its index + 1, that of an
    object is its id plus the number of classes, so that both are the same in every frame.

    Args:
        semantic: (H, W), class indices; negative where there is none.
        vocabulary: the K classes.
        objects: id from 1, mask (H, W), class name and score of each object; an object without a
            label is left out, one without a score is painted first.

    Raises:
        ValueError: a label that the vocabulary lacks.

    Example:
        >>> street = Vocabulary("street", ("road", "car"), things={1})
        >>> car = (1, np.array([[False, True]]), "car", 0.9)
        >>> paint_panoptic(np.zeros((1, 2), dtype=np.int32), street, [car]).ids
        array([[1, 3]], dtype=int32)
    """
    ids = np.where(semantic < 0, 0, semantic + 1).astype(np.int32)
    segments = {
        i + 1: Segment(i + 1, label, vocabulary.is_thing(i), None, None)
        for i, label in enumerate(vocabulary.classes)
    }
    for track, mask, label, score in sorted(objects, key=_ascending_score):
        if label is not None and vocabulary.is_thing(vocabulary.index(label)):
            value = len(vocabulary) + track
            ids[mask] = value
            segments[value] = Segment(value, label, True, score, track)
    shown = np.flatnonzero(np.bincount(ids.ravel())).tolist()
    return Panoptic(ids, [segments[value] for value in shown if value])


def _ascending_score(
    item: tuple[int, NDArray[np.bool_], str | None, float | None],
) -> float:
    score = item[3]
    return float("-inf") if score is None else score
