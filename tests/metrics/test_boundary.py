"""The contour measure against a direct transcription of its definition with scipy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from segblocks.metrics.boundary import boundary_f, contour
from tests.metrics.videos import blobs


def slow_contour(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    height, width = mask.shape
    edge = np.zeros_like(mask)
    for y in range(height):
        for x in range(width):
            around = [(y, x + 1), (y + 1, x), (y + 1, x + 1)]
            inside = [(v, u) for v, u in around if v < height and u < width]
            edge[y, x] = any(mask[y, x] != mask[v, u] for v, u in inside)
    return edge


def slow_f(mask: NDArray[np.bool_], truth: NDArray[np.bool_], tolerance: float = 0.008) -> float:
    """Dilate each contour by a disk, and look what of the other lies in it."""
    radius = math.ceil(tolerance * np.linalg.norm(mask.shape))
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    disk = y**2 + x**2 <= radius**2
    found, wanted = slow_contour(mask), slow_contour(truth)
    if not found.any() or not wanted.any():
        return float(found.any() == wanted.any())
    precision = (found & ndimage.binary_dilation(wanted, disk)).sum() / found.sum()
    recall = (wanted & ndimage.binary_dilation(found, disk)).sum() / wanted.sum()
    if precision + recall == 0:
        return 0.0
    return 2 * precision * recall / (precision + recall)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 24),
    st.integers(1, 24),
    st.sampled_from([0.0, 0.02, 0.5, 0.97, 1.0]),
    st.sampled_from([0.008, 0.1, 0.3]),
)
def test_equals_dilation_of_noise(
    seed: int, height: int, width: int, density: float, tolerance: float
) -> None:
    rng = np.random.default_rng(seed)
    a, b = (rng.random((height, width)) < density for _ in range(2))
    expected = np.argwhere(slow_contour(a))
    np.testing.assert_array_equal(contour(a), expected)
    assert boundary_f(a, b, tolerance=tolerance) == pytest.approx(
        slow_f(a, b, tolerance), abs=1e-12
    )


@pytest.mark.parametrize("size", [(60, 107), (107, 60), (130, 40)])
def test_equals_dilation_of_shapes(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    for _ in range(3):
        a, b = (m[0] for m in blobs(rng, (1, 2), (1, *size)).values())
        assert boundary_f(a, b) == pytest.approx(slow_f(a, b), abs=1e-12)


def test_equals_the_distance_to_the_other_contour() -> None:
    """Inside the disk means within the radius, that included: 3-4-5 triangles tell."""
    a = np.zeros((40, 40), dtype=bool)
    a[10, 10] = True
    for dy, dx, near in ((3, 4, True), (4, 4, False), (0, 5, True), (0, 6, False), (5, 0, True)):
        b = np.zeros_like(a)
        b[10 + dy, 10 + dx] = True
        # Both contours are squares of 2 x 2, so that some pixels may be near where most are not.
        apart = boundary_f(a, b, tolerance=5 / math.hypot(40, 40))
        assert (apart == 1.0) is near
        assert apart == pytest.approx(slow_f(a, b, 5 / math.hypot(40, 40)), abs=1e-12)


@pytest.mark.parametrize(
    ("a", "b", "expected"), [(False, False, 1.0), (True, False, 0.0), (False, True, 0.0)]
)
def test_empty(a: bool, b: bool, expected: float) -> None:
    masks = []
    for shown in (a, b):
        mask = np.zeros((9, 9), dtype=bool)
        mask[4, 4] = shown
        masks.append(mask)
    assert boundary_f(masks[0], masks[1]) == expected


def test_a_mask_that_fills_the_image_has_no_contour() -> None:
    assert contour(np.ones((4, 5), dtype=bool)).shape == (0, 2)
    assert boundary_f(np.ones((4, 5), dtype=bool), np.zeros((4, 5), dtype=bool)) == 1.0
