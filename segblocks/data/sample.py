"""One video of a dataset, whatever dataset it comes from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from segblocks.text.vocabulary import Vocabulary

Frame = NDArray[np.uint8]
Mask = NDArray[np.bool_]

IGNORE = -1


@dataclass(frozen=True)
class ObjectInfo:
    """An annotated object of a video.

    Args:
        id: its number in the video, from 1.
        label: index of its class in the video's vocabulary, or None where there are no classes.
        is_crowd: a region of many objects of one class; neither rewarded nor punished.
        attributes: what else the dataset says of it, such as an occlusion level or "unseen".
    """

    id: int
    label: int | None = None
    is_crowd: bool = False
    attributes: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Truth:
    """The annotation of one frame.

    Args:
        ids: of the O objects that the annotation of this frame shows, ascending.
        masks: (O, H, W) bool.
        semantic: (H, W) int16, class index of each pixel in the vocabulary, ``IGNORE`` where it
            is not labelled; None where the dataset has no such annotation.
        ignore: (H, W) bool, pixels on which nothing is judged, or None.
    """

    ids: tuple[int, ...]
    masks: Mask
    semantic: NDArray[np.int16] | None = None
    ignore: Mask | None = None


@dataclass(frozen=True)
class Expression:
    """A sentence that names an object.

    Args:
        id: as the dataset counts it, within the video.
        text: the sentence.
        object_ids: the objects that it means; as a rule one.
    """

    id: str
    text: str
    object_ids: tuple[int, ...]


def numbered_names(num_frames: int) -> tuple[str, ...]:
    """Return the names of frames that have none of their own.

    Example:
        >>> numbered_names(2)
        ('00000', '00001')
    """
    return tuple(f"{t:05d}" for t in range(num_frames))


@dataclass(frozen=True)
class VideoSample:
    """A video with its annotation, read when asked for.

    Args:
        name: unique in the dataset.
        num_frames: T.
        size: (H, W) of all frames.
        read_frame: frame index -> (H, W, 3) uint8 RGB.
        read_truth: annotated frame index -> its annotation.
        annotated: indices of the frames that have an annotation, ascending; none for test sets,
            even where the hint frames are given and can be read.
        objects: all annotated objects, ascending by id.
        vocabulary: of labels and semantic maps, or None.
        expressions: sentences about objects (RefVOS).
        points: frame -> object id -> (x, y) in pixels, where the dataset gives point prompts.
        hint_frames: object id -> the frame whose annotation a VOS or PET task may see; as a rule
            the object's first. Empty where the dataset has no such task.
        frame_names: of the frames in the dataset, for writing results; without suffix.
        fps: frames a second, or None.
        attributes: what else the dataset says of the video, such as its number in the dataset.

    Example:
        >>> frame = np.zeros((4, 6, 3), np.uint8)
        >>> truth = Truth((1,), np.ones((1, 4, 6), bool))
        >>> sample = VideoSample("still", 1, (4, 6), lambda t: frame, lambda t: truth,
        ...                      annotated=(0,), objects=(ObjectInfo(1),))
        >>> sample.read_truth(0).masks.shape
        (1, 4, 6)
    """

    name: str
    num_frames: int
    size: tuple[int, int]
    read_frame: Callable[[int], Frame] = field(repr=False)
    read_truth: Callable[[int], Truth] = field(repr=False)
    annotated: tuple[int, ...] = field(repr=False)
    objects: tuple[ObjectInfo, ...]
    vocabulary: Vocabulary | None = None
    expressions: tuple[Expression, ...] = ()
    points: Mapping[int, Mapping[int, tuple[float, float]]] = field(default_factory=dict)
    hint_frames: Mapping[int, int] = field(default_factory=dict, repr=False)
    frame_names: tuple[str, ...] = field(default=(), repr=False)
    fps: float | None = None
    attributes: Mapping[str, object] = field(default_factory=dict, repr=False)

    @property
    def file_names(self) -> tuple[str, ...]:
        """What to call files of the frames, without suffix: their names, or else their numbers."""
        return self.frame_names or numbered_names(self.num_frames)

    @property
    def frames(self) -> list[Frame]:
        """All frames, read at once; for short videos and tests."""
        return [self.read_frame(t) for t in range(self.num_frames)]
