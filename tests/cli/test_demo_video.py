"""The demo's video: same for a seed, with exact and visible masks."""

from __future__ import annotations

import numpy as np
import pytest

from segblocks.cli.demo_video import make_demo_video


def test_video_is_a_function_of_its_arguments() -> None:
    first, second = make_demo_video(3, 40, 48), make_demo_video(3, 40, 48)
    np.testing.assert_array_equal(first.frames, second.frames)
    assert (make_demo_video(3, 40, 48, seed=1).frames != first.frames).any()


@pytest.mark.parametrize("size", [(128, 192), (33, 120), (120, 32)])
def test_masks_are_visible_disjoint_inside_and_moving(size: tuple[int, int]) -> None:
    video = make_demo_video(6, *size)
    assert video.frames.shape == (6, *size, 3)
    assert video.masks.sum(axis=0).max() == 1
    assert video.masks.any(axis=(2, 3)).all()
    border = np.ones(size, np.bool_)
    border[1:-1, 1:-1] = False
    assert not video.masks[..., border].any()
    assert (video.masks[:, 0] != video.masks[:, -1]).any(axis=(1, 2)).all()


def test_objects_differ_from_the_ground() -> None:
    video = make_demo_video(2)
    ground = video.frames[0][~video.masks[:, 0].any(axis=0)].mean(axis=0)
    for mask in video.masks[:, 0]:
        assert np.abs(video.frames[0][mask].mean(axis=0) - ground).max() > 40


def test_bad_sizes() -> None:
    with pytest.raises(ValueError, match="0 frames"):
        make_demo_video(0)
    with pytest.raises(ValueError, match="32 pixels"):
        make_demo_video(1, 31, 64)
