"""Videos whose pixels say where they come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from segblocks.data.indexed import IndexedVideos
from segblocks.data.sample import Expression, ObjectInfo, Truth, VideoSample
from segblocks.text.vocabulary import Vocabulary

SIZE = (48, 64)
STREET = Vocabulary("street", ("road", "car", "person"), {1, 2})
Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Boxes:
    """Frames that hold their rows, columns and number, and objects that are boxes.

    The semantic map numbers the pixels, which no dataset does, but which shows where they go.
    """

    boxes: Mapping[int, Mapping[int, Box]]
    has_semantic: bool = True
    ignored: Box | None = None

    def read_frame(self, t: int) -> np.ndarray:
        rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
        return np.stack([rows, columns, np.full_like(rows, t)], axis=-1).astype(np.uint8)

    def read_truth(self, t: int) -> Truth:
        ids = tuple(sorted(i for i, places in self.boxes.items() if t in places))
        masks = np.zeros((len(ids), *SIZE), np.bool_)
        for mask, i in zip(masks, ids, strict=True):
            mask[box_slices(self.boxes[i][t])] = True
        semantic = np.arange(SIZE[0] * SIZE[1], dtype=np.int16).reshape(SIZE)
        ignore = None
        if self.ignored is not None:
            ignore = np.zeros(SIZE, np.bool_)
            ignore[box_slices(self.ignored)] = True
        return Truth(ids, masks, semantic if self.has_semantic else None, ignore)


class Made(IndexedVideos):
    """A dataset of the videos that it is given."""

    def __init__(
        self, samples: Sequence[VideoSample], vocabulary: Vocabulary | None = STREET
    ) -> None:
        super().__init__("made", "vis", (sample.name for sample in samples), vocabulary)
        self.samples = samples

    def _read(self, index: int) -> VideoSample:
        return self.samples[index]


def box_slices(box: Box) -> tuple[slice, slice]:
    """The pixels of (top, left, bottom, right)."""
    return slice(box[0], box[2]), slice(box[1], box[3])


def boxes_video(
    boxes: Mapping[int, Mapping[int, Box]],
    num_frames: int,
    *,
    name: str = "boxes",
    labels: Mapping[int, int | None] | None = None,
    crowds: Sequence[int] = (),
    annotated: Sequence[int] | None = None,
    expressions: Sequence[Expression] = (),
    has_semantic: bool = True,
    ignored: Box | None = None,
) -> VideoSample:
    """A video of boxes: id -> frame -> box; of class 1 where nothing else is said."""
    reader = Boxes(boxes, has_semantic, ignored)
    labels = {} if labels is None else labels
    return VideoSample(
        name,
        num_frames,
        SIZE,
        reader.read_frame,
        reader.read_truth,
        tuple(range(num_frames)) if annotated is None else tuple(annotated),
        tuple(ObjectInfo(i, labels.get(i, 1), i in crowds) for i in sorted(boxes)),
        STREET,
        tuple(expressions),
    )


def moving_boxes(num_objects: int = 3, num_frames: int = 8, **more: object) -> VideoSample:
    """A video of boxes side by side that move down, all seen in every frame."""
    boxes = {
        number: {t: (3 + 2 * t, 12 * k + 2, 13 + 2 * t, 12 * k + 10) for t in range(num_frames)}
        for k, number in enumerate(range(1, num_objects + 1))
    }
    return boxes_video(boxes, num_frames, **more)  # pyright: ignore[reportArgumentType]
