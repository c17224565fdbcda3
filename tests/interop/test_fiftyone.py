"""Frame labels for FiftyOne: every mask can be painted back from its box."""

from __future__ import annotations

import base64
import io
import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from segblocks import VOS
from segblocks.interop.fiftyone import save_video_labels, to_video_labels
from segblocks.ops.rle import encode
from segblocks.results import Track, VideoSegmentation

VIDEOS = arrays(bool, st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(1, 9)))


def track(masks: np.ndarray, label: str | None, score: float | None) -> Track:
    rles = {t: encode(mask) for t, mask in enumerate(masks) if mask.any()}
    return Track(7, label, score, rles, masks.shape[1:], len(masks))


def result_of(found: Track) -> VideoSegmentation:
    task = VOS(np.ones((1, *found.size), bool))
    return VideoSegmentation((found,), found.num_frames, found.size, task)


def labels_of(masks: np.ndarray, label: str | None = "cat", score: float | None = 0.5) -> Any:
    return json.loads(json.dumps(to_video_labels(result_of(track(masks, label, score)))))


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


def test_a_folder_names_its_videos_and_their_labels(tmp_path: Path) -> None:
    masks = np.ones((2, 3, 4), bool)
    results = {}
    for n, name in enumerate(("one/ä.mp4", "two/ä.mp4")):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
        results[tmp_path / name] = result_of(track(masks, f"label {n}", None))
    out = tmp_path / "deep" / "labelled"
    save_video_labels(results, out)
    manifest = json.loads((out / "manifest.json").read_text())
    for n, (video, entry) in enumerate(zip(results, manifest["index"], strict=True)):
        assert (out / entry["data"]).samefile(video)
        frames = json.loads((out / entry["labels"]).read_text())["frames"]
        assert frames["2"]["objects"]["objects"][0]["label"] == f"label {n}"
    save_video_labels({tmp_path / "one/ä.mp4": results[tmp_path / "one/ä.mp4"]}, out)
    assert len(list((out / "labels").iterdir())) == 1


def test_bad_videos_leave_nothing(tmp_path: Path) -> None:
    found = result_of(track(np.ones((1, 2, 2), bool), None, None))
    with pytest.raises(FileNotFoundError, match=r"there is no .*my\.mp4"):
        save_video_labels({tmp_path / "my.mp4": found}, tmp_path / "out")
    with pytest.raises(ValueError, match="at least one video"):
        save_video_labels({}, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
