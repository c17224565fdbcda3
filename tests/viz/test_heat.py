"""Heat and light on frames."""

from __future__ import annotations

import numpy as np
import pytest

from segblocks.viz import draw_heat, draw_spotlight

FRAME = np.random.default_rng(0).integers(0, 256, (8, 11, 3), dtype=np.uint8)


def luma(picture: np.ndarray) -> np.ndarray:
    return picture.astype(float) @ (0.299, 0.587, 0.114)


def test_more_is_brighter_and_nothing_is_the_dimmed_frame() -> None:
    ramp = np.linspace(0, 3, 50)[None].repeat(2, axis=0)
    drawn = draw_heat(np.full((2, 50, 3), 60, np.uint8), ramp)
    assert drawn[0, 0].tolist() == [21, 21, 21]
    assert (np.diff(luma(drawn[0, 13:])) > 0).all()
    assert drawn[0, -1].tolist() == [252, 255, 164]


def test_the_top_makes_frames_comparable() -> None:
    values = np.full((8, 11), 0.5)
    values[0, 0] = 1
    alone = draw_heat(FRAME, values)
    np.testing.assert_array_equal(draw_heat(FRAME, values, top=1.0), alone)
    assert (luma(draw_heat(FRAME, values, top=4.0)) < luma(alone)).all()


def test_a_spotlight_keeps_what_is_inside() -> None:
    mask = np.random.default_rng(1).random((8, 11)) < 0.5
    drawn = draw_spotlight(FRAME, mask)
    np.testing.assert_array_equal(drawn[mask], FRAME[mask])
    assert (np.ptp(drawn[~mask].astype(int), axis=1) == 0).all()
    assert (drawn[~mask].max(axis=1) <= FRAME[~mask].max(axis=1) * 0.35 + 1).all()


@pytest.mark.parametrize("draw", [draw_heat, draw_spotlight])
def test_sizes_must_agree(draw) -> None:
    with pytest.raises(ValueError, match=r"size \(8, 11\) of the frame, got \(8, 12\)"):
        draw(FRAME, np.zeros((8, 12), bool))
