"""Small videos made by rule, to be written in a layout and read back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from segblocks.data.sample import Expression, ObjectInfo, Truth, VideoSample
from segblocks.text.vocabulary import Vocabulary

ANIMALS = Vocabulary("animals", ("cat", "dog", "owl"), category_ids=(3, 7, 8))


@dataclass(frozen=True)
class MadeFrames:
    """Noise that depends on the video and the frame."""

    seed: int
    size: tuple[int, int]

    def __call__(self, t: int) -> np.ndarray:
        rng = np.random.default_rng((self.seed, t))
        return rng.integers(0, 256, (*self.size, 3), dtype=np.uint8)


@dataclass(frozen=True)
class MadeTruth:
    """Objects in columns of their own: object number k is a bar that grows downwards."""

    shown: Mapping[int, tuple[int, ...]]
    columns: Mapping[int, int]
    size: tuple[int, int]

    def __call__(self, t: int) -> Truth:
        ids = self.shown[t]
        masks = np.zeros((len(ids), *self.size), np.bool_)
        for mask, number in zip(masks, ids, strict=True):
            mask[t : t + 2, self.columns[number]] = True
        return Truth(ids, masks)


def made_video(
    name: str = "walk",
    ids: Sequence[int] = (1, 2, 3),
    *,
    late: Mapping[int, int] | None = None,
    empty: Sequence[int] = (),
    annotated: Sequence[int] | None = None,
    vocabulary: Vocabulary | None = ANIMALS,
    hints: bool = True,
    expressions: tuple[Expression, ...] = (),
    points: bool = False,
    num_frames: int = 4,
) -> VideoSample:
    """Make a video.

    Args:
        name: of the video.
        ids: of its objects.
        late: object id -> the frame in which it appears, 0 for all others.
        empty: frames that show no object.
        annotated: frames with an annotation; None for all.
        vocabulary: of the labels, given in turn; None for no labels.
        hints: whether the first frame of each object is its hint.
        expressions: sentences.
        points: whether each object has a point in its hint frame.
        num_frames: T.
    """
    size = (num_frames + 2, max(len(ids), 5) + 1)
    frames = tuple(range(num_frames)) if annotated is None else tuple(annotated)
    start = {i: (late or {}).get(i, 0) for i in ids}
    shown = {t: tuple(i for i in ids if start[i] <= t and t not in empty) for t in frames}
    first = {i: min(t for t in frames if i in shown[t]) for i in ids} if hints else {}
    columns = {i: k for k, i in enumerate(ids)}
    prompts: dict[int, dict[int, tuple[float, float]]] = {}
    for i, t in first.items() if points else ():
        prompts.setdefault(t, {})[i] = (float(columns[i]), float(t + 1))
    return VideoSample(
        name,
        num_frames,
        size,
        MadeFrames(sum(map(ord, name)), size),
        MadeTruth(shown, columns, size),
        frames,
        tuple(
            ObjectInfo(i, None if vocabulary is None else k % len(vocabulary))
            for k, i in enumerate(ids)
        ),
        vocabulary,
        expressions=expressions,
        points=prompts,
        hint_frames=first,
        frame_names=tuple(f"{5 * t:05d}" for t in range(num_frames)),
    )


def assert_same_video(read: VideoSample, made: VideoSample, *, labels: bool = True) -> None:
    """Compare pixels, masks, objects, hints, points and sentences."""
    assert read.name == made.name
    assert (read.num_frames, read.size) == (made.num_frames, made.size)
    assert read.frame_names == made.frame_names
    for t in range(made.num_frames):
        np.testing.assert_array_equal(read.read_frame(t), made.read_frame(t))
    assert read.annotated == made.annotated
    for t in made.annotated:
        assert_same_truth(read.read_truth(t), made.read_truth(t))
    assert [info.id for info in read.objects] == [info.id for info in made.objects]
    if labels:
        assert [info.label for info in read.objects] == [info.label for info in made.objects]
    assert read.hint_frames == made.hint_frames
    assert read.points == made.points
    assert read.expressions == made.expressions


def assert_same_truth(read: Truth, made: Truth) -> None:
    assert read.ids == made.ids
    assert read.masks.dtype == np.bool_
    np.testing.assert_array_equal(read.masks, made.masks)
