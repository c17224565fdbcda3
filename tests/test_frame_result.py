from __future__ import annotations

import numpy as np
import pytest

from segblocks.frame_result import FrameResult
from segblocks.text.vocabulary import Vocabulary

MASKS = np.array([[[True, False, False]], [[False, True, False]]])
STREET = Vocabulary("street", ("road", "car"), things={1})


def test_panoptic_takes_the_labels_known_so_far():
    semantic = np.zeros((1, 3), dtype=np.int32)
    frame = FrameResult(4, (1, 3), MASKS, ("car", None), (0.5, 0.9), semantic, STREET)
    ids, segments = frame.panoptic
    assert ids.tolist() == [[3, 1, 1]]
    assert [segment.track_id for segment in segments] == [None, 1]
    assert repr(frame) == "FrameResult(4, 2 objects, semantic)"


def test_without_a_semantic_map_there_is_no_panoptic_one():
    with pytest.raises(ValueError, match="no semantic map"):
        _ = FrameResult(0, (1, 3), MASKS, (None, None), (None, None)).panoptic


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ids": (1,)}, r"\(O, H, W\) with O=1"),
        ({"masks": MASKS.astype(np.uint8)}, "boolean"),
        ({"masks": MASKS[0]}, "boolean"),
        ({"ids": (1, 1)}, "distinct"),
        ({"labels": (None,)}, "a label and a score each"),
        ({"scores": ()}, "a label and a score each"),
        ({"semantic": np.zeros((3, 1), dtype=np.int32)}, "semantic must be"),
    ],
)
def test_parts_that_do_not_agree_raise(changes, message):
    parts = {
        "index": 0,
        "ids": (1, 3),
        "masks": MASKS,
        "labels": (None, None),
        "scores": (None, None),
    }
    with pytest.raises(ValueError, match=message):
        FrameResult(**{**parts, **changes})
