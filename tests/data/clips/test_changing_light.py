"""Sun and shade that move over a clip."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segblocks.data.clips import ChangingLight, ClipTransform
from segblocks.data.clips.clip_arrays import ClipArrays

GRAY = np.full((4, 40, 60, 3), 100, np.uint8)
# Sharp, without colour, and exposed for something between sun and shade.
PLAIN = {"chance": 1.0, "shade": (0.5, 0.5), "softness": (0.001, 0.001), "tint": 0.0}


def light(seed: int, frames: np.ndarray = GRAY, **options) -> np.ndarray:
    return ChangingLight(**{**PLAIN, **options})(np.random.default_rng(seed), frames)


@given(st.integers(0, 10_000))
def test_shade_leaves_its_share_of_the_light(seed: int):
    lit = light(seed, exposure=0.0).astype(float)
    assert lit.min() >= 49
    assert lit.max() <= 201
    if lit.max() > lit.min():
        assert lit.max() / lit.min() == pytest.approx(2, abs=0.05)


def test_the_edge_moves():
    shares = [(light(seed) < light(seed).max()).mean(axis=(1, 2, 3)) for seed in range(20)]
    assert sum(np.ptp(share) > 0.1 for share in shares) > 10


def test_exposure_drifts_by_as_much_as_allowed():
    for seed in range(10):
        lit = light(seed, shade=(1.0, 1.0), exposure=1.0).astype(float)
        assert np.ptp(lit, axis=(1, 2, 3)).max() <= 1
        assert lit.min() >= 49
        assert lit.max() <= 201


def test_shade_is_bluish():
    lit = light(3, tint=0.1).astype(int)
    assert (lit[..., 2] >= lit[..., 0]).all()
    assert (lit[..., 2] > lit[..., 0]).any()


def test_chance_spares_clips():
    frames = np.random.default_rng(0).integers(0, 256, GRAY.shape).astype(np.uint8)
    assert light(0, frames, chance=0.0) is frames
    changed = sum(light(seed, frames, chance=0.3) is not frames for seed in range(300))
    assert 60 < changed < 120


def test_the_same_chance_gives_the_same_light():
    assert np.array_equal(light(5), light(5))


def test_a_clip_keeps_its_annotation():
    arrays = ClipArrays(GRAY, np.ones((2, *GRAY.shape[:3]), bool))
    transform = ClipTransform(flip=0.0, colors=None, light=ChangingLight(chance=1.0))
    lit = transform(np.random.default_rng(1), arrays)
    assert np.array_equal(lit.masks, arrays.masks)
    assert lit.frames.dtype == np.uint8
    assert not np.array_equal(lit.frames, arrays.frames)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"chance": 1.5}, r"chance must lie in \[0, 1\], got 1.5"),
        ({"shade": (0.8, 0.3)}, "shade must be positive and ascending"),
        ({"softness": (0.0, 0.1)}, "softness must be positive and ascending"),
        ({"exposure": -0.1}, "exposure must be at least 0, got -0.1"),
        ({"tint": -0.1}, "tint must be at least 0, got -0.1"),
    ],
)
def test_what_is_no_light(options, message):
    with pytest.raises(ValueError, match=message):
        ChangingLight(**options)
