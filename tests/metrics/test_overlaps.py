"""Counting in packed words against counting pixels."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from segblocks.metrics.overlaps import areas, intersections, iou


@given(
    st.integers(0, 2**32 - 1),
    st.integers(0, 3),
    st.integers(0, 3),
    st.integers(1, 17),
    st.integers(1, 17),
)
def test_equals_pixel_counts(seed: int, num_a: int, num_b: int, height: int, width: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = (rng.random((n, height, width)) < 0.5 for n in (num_a, num_b))
    common = np.array([[(x & y).sum() for y in b] for x in a], dtype=int).reshape(num_a, num_b)
    union = np.array([[(x | y).sum() for y in b] for x in a], dtype=int).reshape(num_a, num_b)
    np.testing.assert_array_equal(intersections(a, b), common)
    np.testing.assert_array_equal(areas(a), [x.sum() for x in a])
    np.testing.assert_array_equal(iou(a, b), common / np.maximum(union, 1))
