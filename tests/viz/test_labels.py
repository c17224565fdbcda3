"""Names on frames."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segblocks.viz import Label, draw_labels


@pytest.mark.parametrize(("color", "bright"), [((128, 0, 0), True), ((224, 224, 192), False)])
def test_ink_stands_out_from_its_colour(color: tuple[int, int, int], bright: bool) -> None:
    frame = np.full((30, 60, 3), 77, np.uint8)
    drawn = draw_labels(frame, [Label(5, 5, "dog 3", color)])
    ink = (drawn > 200).all(axis=2) if bright else (drawn < 40).all(axis=2)
    assert ink.sum() > 5
    assert (drawn == color).all(axis=2).sum() > 50
    assert (frame == 77).all()


@given(x=st.integers(-5, 90), y=st.integers(-5, 70), text=st.text(max_size=8))
def test_any_label_at_any_place_leaves_the_size(x: int, y: int, text: str) -> None:
    frame = np.zeros((60, 80, 3), np.uint8)
    assert draw_labels(frame, [Label(x, y, text, (200, 0, 0))]).shape == frame.shape
