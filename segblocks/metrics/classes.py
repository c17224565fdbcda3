"""The same classes in two vocabularies."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from segblocks.results import VideoSegmentation
from segblocks.text.vocabulary import Vocabulary

if TYPE_CHECKING:
    from segblocks.data.sample import VideoSample


def vocabulary_of(truth: VideoSample) -> Vocabulary:
    """Return the classes of an annotated video.

    Raises:
        ValueError: it has none.
    """
    if truth.vocabulary is None:
        raise ValueError(f"video {truth.name!r} has no vocabulary, so its classes mean nothing")
    return truth.vocabulary


def class_indices(truth: VideoSample, prediction: VideoSegmentation) -> NDArray[np.int64]:
    """Return the index in the dataset's vocabulary of each class of the prediction's.

    Classes are the same where their names are; a prediction may know fewer of them, or another
    order.

    Raises:
        ValueError: one of the two has no classes, or the prediction one that the dataset lacks.
    """
    vocabulary = vocabulary_of(truth)
    if prediction.vocabulary is None:
        raise ValueError(
            f"the prediction of {truth.name!r} has no vocabulary ({prediction.task_name})"
        )
    if prediction.vocabulary.classes == vocabulary.classes:
        return np.arange(len(vocabulary))
    return np.array([vocabulary.index(name) for name in prediction.vocabulary.classes])


def predicted_classes(prediction: VideoSegmentation, t: int) -> NDArray[np.int64]:
    """Return the index of the class that each pixel shows, in the prediction's vocabulary.

    Where there are tracks, as for VPS, the things among them are painted over the semantic map.

    Returns:
        (H, W), negative where there is none.

    Raises:
        ValueError: the task gives no semantic map.
    """
    if not prediction.tracks:
        return prediction.semantic(t).astype(np.int64)
    panoptic = prediction.panoptic(t)
    assert prediction.vocabulary is not None
    lookup = np.full(int(panoptic.ids.max(initial=0)) + 1, -1, dtype=np.int64)
    for segment in panoptic.segments:
        lookup[segment.id] = prediction.vocabulary.index(segment.label)
    return lookup[panoptic.ids]
