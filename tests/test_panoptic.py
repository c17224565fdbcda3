from __future__ import annotations

import numpy as np
import pytest

from segblocks.panoptic import Segment, paint_panoptic
from segblocks.text.vocabulary import Vocabulary

STREET = Vocabulary("street", ("road", "sky", "car", "person"), things={2, 3})


def row(*pixels: int) -> np.ndarray:
    return np.array([pixels], dtype=bool)


def test_higher_scores_lie_on_top_and_stuff_shows_below():
    semantic = np.array([[0, 0, 1, 1, -1]], dtype=np.int32)
    objects = [
        (7, row(1, 1, 1, 0, 0), "car", 0.9),
        (2, row(0, 0, 1, 1, 0), "person", 0.6),
        (5, row(1, 0, 0, 0, 0), "car", 0.3),
    ]
    ids, segments = paint_panoptic(semantic, STREET, objects)
    assert ids.dtype == np.int32
    assert ids.tolist() == [[11, 11, 11, 6, 0]]
    assert segments == [
        Segment(6, "person", True, 0.6, 2),
        Segment(11, "car", True, 0.9, 7),
    ]


def test_stuff_segments_have_the_number_of_their_class():
    ids, segments = paint_panoptic(np.array([[1, 0]], dtype=np.int32), STREET, [])
    assert ids.tolist() == [[2, 1]]
    assert segments == [Segment(1, "road", False, None, None), Segment(2, "sky", False, None, None)]


@pytest.mark.parametrize("label", [None, "sky"])
def test_only_things_are_painted(label):
    semantic = np.zeros((1, 2), dtype=np.int32)
    ids, segments = paint_panoptic(semantic, STREET, [(1, row(1, 1), label, 0.9)])
    assert ids.tolist() == [[1, 1]]
    assert len(segments) == 1


def test_objects_without_a_score_lie_below():
    semantic = np.zeros((1, 2), dtype=np.int32)
    objects = [(1, row(1, 0), "car", 0.1), (2, row(1, 1), "car", None)]
    assert paint_panoptic(semantic, STREET, objects).ids.tolist() == [[5, 6]]


def test_unknown_labels_raise():
    with pytest.raises(ValueError, match="did you mean 'car'"):
        paint_panoptic(np.zeros((1, 1), dtype=np.int32), STREET, [(1, row(1), "cars", 1.0)])
