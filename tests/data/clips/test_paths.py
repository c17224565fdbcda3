"""Paths are smooth and keep within what was asked for."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from segblocks.data.clips.paths import draw_camera_path, draw_object_path


@settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 9999),
    still=st.tuples(st.integers(5, 700), st.integers(5, 700)),
    size=st.tuples(st.integers(8, 300), st.integers(8, 300)),
    num_frames=st.integers(1, 6),
)
def test_windows_stay_inside_and_keep_their_shape(seed, still, size, num_frames):
    rng = np.random.default_rng(seed)
    camera = draw_camera_path(rng, still, size, num_frames, (0.5, 1.0), 0.3)
    for t in range(num_frames):
        rows, columns = camera.window(t)
        assert 0 <= rows.start < rows.stop <= still[0]
        assert 0 <= columns.start < columns.stop <= still[1]
        height, width = rows.stop - rows.start, columns.stop - columns.start
        largest = min(still[0] / size[0], still[1] / size[1])
        for length, side in ((height, size[0]), (width, size[1])):
            assert 0.5 / 1.2 * largest * side - 1 <= length <= largest * side + 1


@settings(max_examples=80, deadline=None)
@given(seed=st.integers(0, 9999), num_frames=st.integers(1, 8))
def test_objects_keep_to_their_limits(seed, num_frames):
    size = (60, 90)
    path = draw_object_path(
        np.random.default_rng(seed), size, num_frames, None,
        travel=0.5, turn=20.0, scale_change=1.5,
    )  # fmt: skip
    placed = [path.place(t) for t in range(num_frames)]
    matrix, center = placed[path.anchor]
    assert 0 <= center[0] < 90
    assert 0 <= center[1] < 60
    assert np.isclose(np.linalg.det(matrix), 1)
    centers = np.array([center for _, center in placed])
    way = np.linalg.norm(np.diff(centers, axis=0), axis=1).sum()
    # The bend adds at most half of what the even way has.
    assert way <= 1.5 * 0.5 * 60 + 1e-9
    # Second differences are the bend in all frames, so that the path is a parabola.
    assert np.allclose(np.diff(centers, n=2, axis=0), path.bend)
    scales = [np.sqrt(np.linalg.det(matrix)) for matrix, _ in placed]
    assert max(scales) / min(scales) <= 1.5 + 1e-9
    angles = [np.rad2deg(np.arctan2(matrix[1, 0], matrix[0, 0])) for matrix, _ in placed]
    assert np.ptp(angles) <= 20 + 1e-9
    assert max(map(abs, angles)) <= 40 + 1e-9


def test_objects_can_be_put_near_each_other():
    rng = np.random.default_rng(0)
    found = [
        draw_object_path(rng, (100, 200), 3, (150.0, 20.0), travel=0.5, turn=0.0, scale_change=1.0)
        for _ in range(200)
    ]
    distances = [np.hypot(path.center[0] - 150, path.center[1] - 20) for path in found]
    assert np.median(distances) < 20
    assert all(0 <= path.center[1] < 100 for path in found)
