"""The demo's video: the same each time, and none that training may see."""

from __future__ import annotations

import numpy as np
import pytest

from segblocks.cli.demo_video import make_demo_video
from segblocks.data.synthetic import HELD_OUT_SEED


def test_the_video_is_held_out_and_shows_all_objects_at_once() -> None:
    first, second = make_demo_video(3), make_demo_video(3)
    np.testing.assert_array_equal(first.frames, second.frames)
    assert int(first.name.split("_")[1]) >= HELD_OUT_SEED
    assert 3 <= len(first.objects) <= 5
    assert set(first.hint_frames.values()) == {0}
    assert set(first.points) == {0}
    truth = first.read_truth(0)
    assert len(truth.ids) == len(first.objects)
    assert (truth.masks.sum(axis=(1, 2)) > 100).all()


def test_bad_sizes() -> None:
    with pytest.raises(ValueError, match="num_frames must be from 1"):
        make_demo_video(0)
    with pytest.raises(ValueError, match="size must be at least"):
        make_demo_video(1, 8, 64)
