"""Frame labels for FiftyOne: every mask can be painted back from its box."""

from __future__ import annotations

import base64
import io
import json
import zlib
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from segblocks import VOS
from segblocks.interop.fiftyone import to_video_labels
from segblocks.ops.rle import encode
from segblocks.results import Track, VideoSegmentation

VIDEOS = arrays(bool, st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(1, 9)))


def track(masks: np.ndarray, label: str | None, score: float | None) -> Track:
    rles = {t: encode(mask) for t, mask in enumerate(masks) if mask.any()}
    return Track(7, label, score, rles, masks.shape[1:], len(masks))


def labels_of(masks: np.ndarray, label: str | None = "cat", score: float | None = 0.5) -> Any:
    size = masks.shape[1:]
    task = VOS(np.ones((1, *size), bool))
    result = VideoSegmentation((track(masks, label, score),), len(masks), size, task)
    return json.loads(json.dumps(to_video_labels(result)))


def painted(found: dict[str, Any], size: tuple[int, int]) -> np.ndarray:
    """The mask as a reader of the format sees it: inside of its box."""
    mask = np.load(io.BytesIO(zlib.decompress(base64.b64decode(found["mask"]))))
    corner = found["bounding_box"]["top_left"]
    left, top = round(corner["x"] * size[1]), round(corner["y"] * size[0])
    canvas = np.zeros(size, bool)
    canvas[top : top + mask.shape[0], left : left + mask.shape[1]] = mask
    return canvas


@given(VIDEOS)
def test_masks_come_back(masks: np.ndarray) -> None:
    frames = labels_of(masks)["frames"]
    assert list(frames) == [str(t + 1) for t in range(len(masks))]
    for t, mask in enumerate(masks):
        frame = frames[str(t + 1)]
        assert frame["frame_number"] == t + 1
        objects = frame["objects"]["objects"]
        assert len(objects) == mask.any()
        for found in objects:
            np.testing.assert_array_equal(painted(found, masks.shape[1:]), mask)
            assert (found["label"], found["index"], found["confidence"]) == ("cat", 7, 0.5)


def test_boxes_are_shares_of_the_sides() -> None:
    masks = np.zeros((1, 10, 20), bool)
    masks[0, 2:5, 4:10] = True
    box = labels_of(masks)["frames"]["1"]["objects"]["objects"][0]["bounding_box"]
    assert box == {"top_left": {"x": 0.2, "y": 0.2}, "bottom_right": {"x": 0.5, "y": 0.5}}


def test_what_is_not_known_is_left_out() -> None:
    found = labels_of(np.ones((1, 2, 2), bool), None, None)["frames"]["1"]["objects"]["objects"][0]
    assert found["label"] == "object"
    assert "confidence" not in found
