"""Pictures of descriptors."""

from __future__ import annotations

import numpy as np
import pytest

from segblocks.nn import ShapePositionDescriptor
from segblocks.viz import draw_descriptor

NEGATIVE = (244, 177, 96)


def disc(x: float, y: float) -> np.ndarray:
    grid = np.arange(128) + 0.5
    return np.hypot(grid[None] - x, grid[:, None] - y) <= 20


def negative_pixels(picture: np.ndarray) -> int:
    return int((picture == NEGATIVE).all(axis=2).sum())


def test_bins_outside_of_the_image_are_orange() -> None:
    corner, middle = disc(24, 24), disc(64, 64)
    drawn = [negative_pixels(draw_descriptor(mask)) for mask in (corner, middle)]
    assert drawn[0] > drawn[1] > 0
    none = ShapePositionDescriptor(negatives="none")
    assert negative_pixels(draw_descriptor(corner, none)) == 0


@pytest.mark.parametrize(
    ("radius", "reach", "seen"),
    [("image", 64 * 2**0.5, True), ("diagonal", 128 * 2**0.5, False), ("mean", 40, True)],
)
def test_the_mask_stands_at_the_left_with_its_outermost_ring(radius, reach, seen) -> None:
    mask = disc(64, 64)
    drawn = draw_descriptor(mask, ShapePositionDescriptor(radius=radius, radii=1))[:, :128]
    assert (drawn[mask] != 245).any(axis=1).all()
    ring = np.argwhere((drawn == 225).all(axis=2)) + 0.5 - 64
    assert bool(len(ring)) is seen
    np.testing.assert_allclose(np.hypot(*ring.T), reach, atol=1.5)


@pytest.mark.parametrize(
    ("mask", "descriptor", "message"),
    [
        (np.zeros((9, 9)), None, "boolean"),
        (np.zeros((2, 9, 9), bool), None, "boolean"),
        (np.zeros((9, 9), bool), None, "at least 4 pixels, got 0"),
        (disc(9, 9), ShapePositionDescriptor(log_radius=True), "equal width"),
    ],
)
def test_wrong_inputs_raise(mask, descriptor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        draw_descriptor(mask, descriptor)
