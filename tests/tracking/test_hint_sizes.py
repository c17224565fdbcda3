from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from segblocks.tracking.hint_sizes import resize_mask, resize_point

sides = st.integers(1, 40)


@given(sides, sides, sides, sides, st.integers(0, 10**6))
@settings(deadline=None)
def test_a_mask_keeps_a_pixel_near_the_object(
    height: int, width: int, new_height: int, new_width: int, where: int
) -> None:
    mask = np.zeros((height, width), bool)
    row, column = divmod(where % (height * width), width)
    mask[row, column] = True
    resized = resize_mask(mask, (new_height, new_width))
    assert resized.shape == (new_height, new_width)
    centre = (np.argwhere(resized).mean(axis=0) + 0.5) / resized.shape
    expected = (np.array([row, column]) + 0.5) / mask.shape
    tolerance = 0.5 / np.array(resized.shape) + 0.5 / np.array(mask.shape)
    assert (np.abs(centre - expected) <= tolerance + 1e-9).all()


def test_a_mask_is_cut_at_one_half() -> None:
    mask = np.array([[True, True, True, False, False, False]])
    # Samples at 0.25, 1.75, 3.25 and 4.75: 1, 1, 0.0, 0.
    assert resize_mask(mask, (1, 4)).tolist() == [[True, True, False, False]]
    assert resize_mask(mask, (2, 12)).tolist() == [[True] * 6 + [False] * 6] * 2


@given(sides, sides, sides, sides, st.floats(0, 0.999), st.floats(0, 0.999))
@settings(deadline=None)
def test_a_point_keeps_its_place_in_the_frame(
    height: int, width: int, new_height: int, new_width: int, x: float, y: float
) -> None:
    point = np.array([x * width - 0.5, y * height - 0.5])
    moved = resize_point(point, (height, width), (new_height, new_width))
    np.testing.assert_allclose(moved, [x * new_width - 0.5, y * new_height - 0.5], atol=1e-9)
