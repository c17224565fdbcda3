"""Pictures and annotations take the very same geometry."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segblocks.data.frame_transform import FrameTransform, RandomPose, fit_sides

SIZE = (90, 120)


def ramps(size: tuple[int, int]) -> np.ndarray:
    """A picture whose red says the column and whose green says the row, twofold."""
    rows, columns = np.mgrid[: size[0], : size[1]]
    return np.stack([2 * columns, 2 * rows, np.full(size, 200)], -1).astype(np.float32)


@settings(max_examples=30)
@given(
    angle=st.floats(-20, 20),
    scale=st.floats(0.9, 1.1),
    shear=st.floats(-10, 10),
    short=st.integers(40, 200),
    corner=st.tuples(st.integers(-20, 30), st.integers(-20, 30)),
)
def test_the_nearest_pixel_is_where_the_picture_is(
    angle: float, scale: float, shear: float, short: int, corner: tuple[int, int]
) -> None:
    resized = fit_sides(SIZE, short, 1333)
    pose = FrameTransform(angle, scale, shear, resized, corner, (60, 70))
    frame = pose.apply(ramps(SIZE))
    source = pose.source_pixels(SIZE)
    rows, columns = np.divmod(source, SIZE[1])
    # Where blue is untouched by the black outside, a linear ramp is sampled without error.
    inside = (np.abs(frame[..., 2] - 200) < 1e-3) & (source >= 0)
    errors = np.stack([frame[..., 0] / 2 - columns, frame[..., 1] / 2 - rows])[:, inside]
    # Antialiasing bends the ramp at the borders of picture and canvas, elsewhere by a tenth.
    middle = (rows > 4) & (rows < SIZE[0] - 5) & (columns > 4) & (columns < SIZE[1] - 5)
    for index, start, end in zip(np.indices(pose.size), corner, resized, strict=True):
        middle &= (index + start > 2) & (index + start < end - 3)
    middle = middle[inside]
    bound = 0.505 if short >= SIZE[0] else 0.65
    assert np.abs(errors[:, middle]).max(initial=0) <= bound
    assert ((source < 0) == (frame[..., 2] < 100))[np.abs(frame[..., 2] - 100) > 90].all()


def test_without_change_nothing_changes() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    pose = FrameTransform(0.0, 1.0, 0.0, SIZE, (10, 20), (30, 40))
    np.testing.assert_array_equal(pose.apply(picture), picture[10:40, 20:60])
    whole = np.arange(SIZE[0] * SIZE[1]).reshape(SIZE)
    np.testing.assert_array_equal(pose.source_pixels(SIZE), whole[10:40, 20:60])


def test_outside_is_black_and_has_no_source() -> None:
    pose = FrameTransform(0.0, 1.0, 0.0, SIZE, (-5, 100), (120, 40))
    frame, source = pose.apply(np.full((*SIZE, 3), 9, np.uint8)), pose.source_pixels(SIZE)
    inside = np.zeros((120, 40), np.bool_)
    inside[5:95, :20] = True
    np.testing.assert_array_equal(source >= 0, inside)
    np.testing.assert_array_equal(frame[..., 0] == 9, inside)


def test_large_pictures_stay_exact() -> None:
    """More pixels than float32 can count."""
    size = (4200, 4100)
    pose = FrameTransform(0.0, 1.0, 0.0, size, (4190, 4080), (10, 20))
    rows, columns = np.divmod(pose.source_pixels(size), size[1])
    np.testing.assert_array_equal(rows[:, 0], np.arange(4190, 4200))
    np.testing.assert_array_equal(columns[0], np.arange(4080, 4100))


def test_poses_lie_in_their_ranges() -> None:
    pose = RandomPose((64, 80), scale=(0.5, 0.6), angle=5, shear=2, short_sides=(70, 90))
    drawn = pose(np.random.default_rng(1), SIZE, 200)
    assert {p.resized for p in drawn} == {(70, 93), (90, 120)}
    for name, low, high in (("angle", -5, 5), ("shear", -2, 2), ("scale", 0.5, 0.6)):
        values = np.array([getattr(p, name) for p in drawn])
        assert low <= values.min() < low + 0.1 * (high - low)
        assert high - 0.1 * (high - low) < values.max() <= high
    tops = [p.corner[0] for p in drawn if p.resized == (90, 120)]
    assert (min(tops), max(tops)) == (0, 26)


def test_the_defaults_are_those_of_the_paper() -> None:
    drawn = RandomPose()(np.random.default_rng(0), (480, 640), 50)
    assert {min(p.resized) for p in drawn} == {512, 544, 576}
    assert {p.size for p in drawn} == {(512, 512)}
    assert fit_sides((300, 1200), 512, 1333) == (333, 1333)
    assert max(p.resized[1] for p in RandomPose()(np.random.default_rng(0), (300, 1200), 9)) == 1333


def test_same_crop() -> None:
    pose = RandomPose((64, 64), short_sides=(80,), same_crop=True)
    assert len({p.corner for p in pose(np.random.default_rng(0), SIZE, 20)}) == 1
    pose = RandomPose((64, 64), short_sides=(80,))
    assert len({p.corner for p in pose(np.random.default_rng(0), SIZE, 20)}) > 5


def test_a_window_larger_than_the_picture_holds_all_of_it() -> None:
    for pose in RandomPose((64, 200), angle=0, shear=0, scale=(1, 1), short_sides=(30,))(
        np.random.default_rng(0), SIZE, 20
    ):
        assert (pose.source_pixels(SIZE) >= 0).sum() == 30 * 40


def test_errors_and_pickling() -> None:
    with pytest.raises(ValueError, match="must be positive and scale ascending"):
        RandomPose(scale=(1.1, 0.9))
    with pytest.raises(ValueError, match="must be positive"):
        RandomPose((0, 5))
    assert pickle.loads(pickle.dumps(RandomPose((32, 32)))).size == (32, 32)
