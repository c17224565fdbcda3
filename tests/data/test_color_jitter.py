"""Colours change within their ranges, and places do not."""

from __future__ import annotations

import numpy as np

from segblocks.data.color_jitter import RandomColors


def test_ranges_of_nothing_change_nothing() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    same = RandomColors(hue=0, saturation=0, contrast=0, brightness=0)
    changed = same(np.random.default_rng(1), picture)
    assert np.abs(changed.astype(int) - picture).max() == 0


def test_brightness_and_hue() -> None:
    gray = np.full((4, 4, 3), 100, np.uint8)
    values = [int(RandomColors()(np.random.default_rng(s), gray)[0, 0, 0]) for s in range(60)]
    assert 90 <= min(values) < 94
    assert 106 < max(values) <= 110
    red = np.zeros((4, 4, 3), np.uint8)
    red[..., 0] = 200
    turned = RandomColors(hue=0.5)(np.random.default_rng(0), red)
    assert turned[0, 0].argmax() in (1, 2) or turned[0, 0, 1:].max() > 100


def test_flat_stays_flat_and_the_input_is_kept() -> None:
    picture = np.zeros((6, 8, 3), np.uint8)
    picture[2:4, 3:5] = (200, 50, 20)
    kept = picture.copy()
    changed = RandomColors()(np.random.default_rng(3), picture)
    np.testing.assert_array_equal(picture, kept)
    assert (changed[2:4, 3:5] == changed[2, 3]).all()
    assert (changed[:2] == changed[0, 0]).all()
