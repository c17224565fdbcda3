"""Frames and annotations move together; crops keep what they must."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segblocks.data.clips import ClipTransform
from segblocks.data.clips.clip_arrays import ClipArrays
from segblocks.data.clips.clip_transform import draw_window, resize_clip
from segblocks.data.color_jitter import RandomColors
from tests.data.clips.made_videos import SIZE, Boxes

REFERENCES = [None, 0, 1]


def numbered(seed: int = 0, num_objects: int = 2) -> ClipArrays:
    """Frames that hold the row and column of each pixel; annotations that follow from these."""
    rng, reader = np.random.default_rng(seed), Boxes({})
    frames = np.stack([reader.read_frame(t) for t in range(3)])
    semantic = np.array([reader.read_truth(t).semantic for t in range(3)])
    masks = np.zeros((num_objects, 3, *SIZE), np.bool_)
    for mask in masks.reshape(-1, *SIZE):
        top, left = rng.integers(SIZE[0] - 4), rng.integers(SIZE[1] - 4)
        mask[top : top + rng.integers(1, 20), left : left + rng.integers(1, 20)] = True
    return ClipArrays(frames, masks, semantic, np.logical_or.reduce(masks))


def source(arrays: ClipArrays) -> tuple[np.ndarray, np.ndarray]:
    """Row and column of each pixel, as the annotation has them."""
    assert arrays.semantic is not None
    return np.divmod(arrays.semantic.astype(int), SIZE[1])


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 999),
    crop=st.sampled_from([None, (0.75, 0.75), (0.3, 1.0), (0.01, 0.01)]),
    sides=st.sampled_from([None, (48,), (24, 31), (67,)]),
    reference=st.sampled_from(REFERENCES),
)
def test_annotations_move_with_the_frames(seed, crop, sides, reference):
    before = numbered(seed)
    transform = ClipTransform(short_sides=sides, crop=crop, colors=None)
    after = transform(np.random.default_rng(seed), before, reference=reference)
    rows, columns = source(after)
    assert after.frames.shape[1:3] == rows.shape[1:] == after.masks.shape[2:]
    # All frames are changed alike, and every annotation with the semantic map.
    assert (rows == rows[0]).all()
    assert (columns == columns[0]).all()
    assert np.array_equal(after.masks, before.masks[:, :, rows[0], columns[0]])
    assert after.ignore is not None
    assert np.array_equal(after.ignore, after.masks.any(axis=0))
    assert (after.frames[:, ..., 2] == np.arange(3)[:, None, None]).all()
    if sides in (None, (48,)):
        assert np.array_equal(after.frames[..., 0], rows)
        assert np.array_equal(after.frames[..., 1], columns)
        return
    # Bilinear sampling is exact where values grow evenly, but for rounding, away from the border
    # of the picture; the nearest pixel is off by half a pixel of either.
    inner = np.s_[:, 3:-3, 3:-3]
    error_rows = np.abs(after.frames[..., 0].astype(int) - rows)[inner]
    error_columns = np.abs(after.frames[..., 1].astype(int) - columns)[inner]
    if error_rows.size:
        assert max(error_rows.max(), error_columns.max()) <= 1


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 9999), height=st.integers(1, 8), width=st.integers(1, 9))
def test_windows_are_drawn_evenly_among_those_that_keep_enough(seed, height, width):
    rng = np.random.default_rng(seed)
    weights = rng.integers(0, 3, (8, 9)) * (rng.random((8, 9)) < 0.2)
    keep = float(rng.choice([0.0, 0.25, 0.6, 1.0]))
    allowed = {
        (top, left)
        for top in range(8 - height + 1)
        for left in range(9 - width + 1)
        if weights[top : top + height, left : left + width].sum() >= keep * weights.sum()
    }
    drawn = {draw_window(rng, weights, (height, width), keep) for _ in range(60)}
    if not allowed:
        assert drawn == {None}
    else:
        assert drawn <= allowed
        # Sixty draws of up to three places miss none of them, but for one in 10^10 times.
        assert len(allowed) > 3 or drawn == allowed


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 9999), crop=st.sampled_from([(0.75, 0.75), (0.5, 0.4), (0.9, 0.2)]))
def test_hinted_objects_stay_whole(seed, crop):
    before = numbered(seed)
    for reference in (0, 2):
        transform = ClipTransform(crop=crop, colors=None)
        after = transform(np.random.default_rng(seed), before, reference=reference)
        sums = [arrays.masks[:, reference].sum(axis=(1, 2)) for arrays in (before, after)]
        assert np.array_equal(*sums)
        seen = np.argwhere(before.masks[:, reference].any(axis=0))
        extent = np.ptp(seen, axis=0) + 1
        window = [round(side * share) for side, share in zip(SIZE, crop, strict=True)]
        fits = (extent <= window).all()
        assert after.size == (tuple(window) if fits else SIZE)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 9999), keep=st.sampled_from([0.25, 0.8]))
def test_a_share_of_all_objects_is_kept(seed, keep):
    before = numbered(seed, num_objects=3)
    transform = ClipTransform(crop=(0.5, 0.5), keep=keep, colors=None)
    after = transform(np.random.default_rng(seed), before)
    union = [arrays.masks.any(axis=0).sum() for arrays in (before, after)]
    assert union[1] >= keep * union[0]
    assert after.size in ((24, 32), SIZE)


def test_no_object_allows_every_window():
    empty = numbered(num_objects=0)
    transform = ClipTransform(crop=(0.5, 0.5), flip=0.0, colors=None)
    corners = {
        tuple(int(side[0, 0, 0]) for side in source(transform(np.random.default_rng(seed), empty)))
        for seed in range(60)
    }
    assert len(corners) > 40


@pytest.mark.parametrize(("flip", "expected"), [(0.0, 0.0), (1.0, 1.0), (0.5, 0.5)])
def test_flips_come_as_often_as_asked(flip, expected):
    arrays, transform = numbered(), ClipTransform(flip=flip, colors=None)
    flipped = [
        source(transform(np.random.default_rng(seed), arrays))[1][0, 0, 0] > 0
        for seed in range(200)
    ]
    assert abs(np.mean(flipped) - expected) < (0.12 if 0 < flip < 1 else 1e-9)


def test_colors_are_those_of_the_clip():
    still = np.random.default_rng(0).integers(0, 256, (1, *SIZE, 3)).astype(np.uint8)
    arrays = replace(numbered(), frames=still.repeat(3, axis=0))
    transform = ClipTransform(flip=0.0, colors=RandomColors())
    after = transform(np.random.default_rng(1), arrays)
    assert not np.array_equal(after.frames, arrays.frames)
    assert (after.frames == after.frames[:1]).all()
    assert np.array_equal(after.masks, arrays.masks)


@pytest.mark.parametrize(
    ("transform", "size"),
    [
        (ClipTransform(), SIZE),
        (ClipTransform(short_sides=(96,)), (96, 128)),
        (ClipTransform(short_sides=(96,), long_side=100), (75, 100)),
        (ClipTransform(short_sides=(24,), crop=(0.5, 1.0)), (24, 64)),
    ],
)
def test_sizes(transform, size):
    for seed in range(3):
        arrays = replace(numbered(), masks=np.ones((1, 3, *SIZE), bool))
        assert transform(np.random.default_rng(seed), arrays).size == size


def test_resizing_to_the_same_size_changes_nothing():
    arrays = numbered()
    assert resize_clip(arrays, SIZE) is arrays


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"short_sides": ()}, "short_sides"),
        ({"short_sides": (0,)}, "short_sides and long_side must be positive"),
        ({"crop": (0.0, 0.5)}, r"crop must lie in \(0, 1\]"),
        ({"crop": (0.5, 1.5)}, "crop"),
        ({"flip": 1.2}, "flip"),
        ({"keep": -1.0}, "keep"),
    ],
)
def test_wrong_options_raise(options, message):
    with pytest.raises(ValueError, match=message):
        ClipTransform(**options)
