"""Small panoptic videos made by rule: objects that move over bands of stuff."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from segblocks.data.sample import IGNORE, ObjectInfo, Truth, VideoSample
from segblocks.text.vocabulary import Vocabulary
from tests.data.made import MadeFrames, assert_same_video

STREET = Vocabulary(
    "made_street", ("road", "car", "sky", "person"), things={1, 3}, category_ids=(2, 5, 9, 11)
)
SIZE = (8, 14)


@dataclass(frozen=True)
class StreetTruth:
    """Objects in columns of their own over road and sky, with a band without a label."""

    labels: tuple[tuple[int, int], ...]
    late: int
    void: bool = True

    def __call__(self, t: int) -> Truth:
        semantic = np.zeros(SIZE, np.int16)
        semantic[:3] = 2
        if self.void:
            semantic[-1] = IGNORE
        ids = [identity for identity, _ in self.labels if t > 0 or identity != self.late]
        masks = np.zeros((len(ids), *SIZE), np.bool_)
        for k, (identity, label) in enumerate(self.labels):
            if identity in ids:
                mask = masks[ids.index(identity)]
                mask[2 + t : 5 + t, 3 * k : 3 * k + 2] = True
                mask[-1] = False
                semantic[mask] = label
        ignore = semantic == IGNORE if self.void else None
        return Truth(tuple(ids), masks, semantic, ignore)


def made_street(
    name: str = "0001",
    ids: Sequence[int] = (1, 2, 7),
    *,
    crowd: Sequence[int] = (),
    void: bool = True,
    num_frames: int = 3,
    annotated: Sequence[int] | None = None,
    frame_names: Callable[[int], str] = "{:05d}".format,
    vocabulary: Vocabulary = STREET,
) -> VideoSample:
    """Make a video whose objects are cars and persons in turn; the last one comes late."""
    labels = tuple((i, vocabulary.thing_ids[k % 2]) for k, i in enumerate(sorted(ids)))
    return VideoSample(
        name,
        num_frames,
        SIZE,
        MadeFrames(sum(map(ord, name)), SIZE),
        StreetTruth(labels, late=max(ids, default=0) if num_frames > 1 else 0, void=void),
        tuple(range(num_frames)) if annotated is None else tuple(annotated),
        tuple(ObjectInfo(i, label, is_crowd=i in crowd) for i, label in labels),
        vocabulary,
        frame_names=tuple(frame_names(t) for t in range(num_frames)),
    )


def as_still(sample: VideoSample) -> VideoSample:
    """The sample as readers of stills give it."""
    return replace(sample, frame_names=(sample.name,))


def assert_same_panoptic(read: VideoSample, made: VideoSample) -> None:
    """Compare all that `assert_same_video` does, and semantic maps, crowds and what is ignored."""
    assert_same_video(read, made)
    assert [info.is_crowd for info in read.objects] == [info.is_crowd for info in made.objects]
    assert read.vocabulary is not None
    assert made.vocabulary is not None
    assert read.vocabulary.classes == made.vocabulary.classes
    assert read.vocabulary.thing_ids == made.vocabulary.thing_ids
    for t in made.annotated:
        ours, theirs = read.read_truth(t), made.read_truth(t)
        assert ours.semantic is not None
        assert ours.semantic.dtype == np.int16
        np.testing.assert_array_equal(ours.semantic, theirs.semantic)
        assert (ours.ignore is None) == (theirs.ignore is None)
        if theirs.ignore is not None:
            np.testing.assert_array_equal(ours.ignore, theirs.ignore)


def edit_json(path: Path, change: Callable[[Any], object]) -> None:
    """Change a JSON file in place."""
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
