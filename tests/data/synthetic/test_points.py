from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from segblocks.data.synthetic.points import inner_point


@given(arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12))), st.integers(0, 99))
def test_a_point_is_a_pixel_of_the_mask(mask: np.ndarray, seed: int) -> None:
    if not mask.any():
        with pytest.raises(ValueError, match="empty"):
            inner_point(mask, np.random.default_rng(seed))
        return
    x, y = inner_point(mask, np.random.default_rng(seed))
    assert mask[int(y), int(x)]


def test_points_keep_away_from_the_edge() -> None:
    mask = np.zeros((41, 41), bool)
    mask[5:36, 5:36] = True
    mask[20, 36:] = True  # a thin tail
    rng = np.random.default_rng(0)
    points = np.array([inner_point(mask, rng) for _ in range(100)])
    assert points.min() >= 12
    assert points.max() <= 28
    assert len(np.unique(points, axis=0)) > 40


def test_the_border_of_the_frame_is_no_edge() -> None:
    mask = np.zeros((20, 30), bool)
    mask[:, :10] = True
    rng = np.random.default_rng(0)
    xs = [inner_point(mask, rng)[0] for _ in range(60)]
    assert min(xs) == 0
    assert max(xs) <= 5
