"""Frames as detections: what supervision itself makes of the same masks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from segblocks.frame_result import FrameResult
from segblocks.interop.supervision import to_detections
from segblocks.text.vocabulary import Vocabulary

sv = pytest.importorskip("supervision")
PETS = Vocabulary("pets", ("dog", "cat"))
MASKS = arrays(bool, st.tuples(st.integers(0, 4), st.integers(1, 6), st.integers(1, 7)))


def frame(masks: np.ndarray, label: str | None, score: float | None) -> FrameResult:
    num = len(masks)
    ids = tuple(range(10, 10 + num))
    return FrameResult(3, ids, masks, (label,) * num, (score,) * num, vocabulary=PETS)


@given(MASKS)
def test_objects_that_show_become_detections(masks: np.ndarray) -> None:
    found = to_detections(frame(masks, "cat", 0.5))
    shown = [i for i, mask in enumerate(masks) if mask.any()]
    assert len(found) == len(shown)
    assert found.tracker_id is not None
    assert found.tracker_id.tolist() == [10 + i for i in shown]
    for place, i in enumerate(shown):
        rows, columns = np.nonzero(masks[i])
        box = [columns.min(), rows.min(), columns.max(), rows.max()]
        assert found.xyxy[place].tolist() == box
        np.testing.assert_array_equal(found.mask[place], masks[i])
        assert found.class_id[place] == 1
        assert found.confidence[place] == 0.5
        assert found.data["class_name"][place] == "cat"


def test_what_is_not_known_is_left_out() -> None:
    found = to_detections(frame(np.ones((2, 3, 4), bool), None, None))
    assert found.class_id is None
    assert found.confidence is None
    assert "class_name" not in found.data


def test_supervision_draws_them() -> None:
    masks = np.zeros((1, 20, 30), bool)
    masks[0, 5:15, 5:25] = True
    scene = np.zeros((20, 30, 3), np.uint8)
    drawn = sv.MaskAnnotator(opacity=1.0).annotate(
        scene.copy(), to_detections(frame(masks, "dog", 1))
    )
    np.testing.assert_array_equal(drawn.any(-1), masks[0])
