"""Frames beside each other."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segblocks.viz import contact_sheet, side_by_side

SIZES = st.lists(st.tuples(st.integers(1, 20), st.integers(1, 20)), min_size=1, max_size=5)


def test_contact_sheet_holds_every_frame() -> None:
    colors = [(10, 0, 200), (20, 0, 200), (30, 0, 200)]
    first, second, third = (np.full((8, 10, 3), color, np.uint8) for color in colors)
    sheets = [
        contact_sheet({"a": [first, second], "b": [third]}),
        contact_sheet([first, second, third]),
        contact_sheet([first, second, third], columns=3),
    ]
    for sheet in sheets:
        for color in colors:
            assert (sheet == color).all(axis=2).sum() == 80
    assert sheets[2].shape == (16, 46, 3)
    assert tuple(sheets[2][8, 5]) == colors[0]
    assert tuple(sheets[2][8, 40]) == colors[2]


@pytest.mark.parametrize("frames", [{"a": []}, {}, []])
def test_a_sheet_needs_a_frame(frames) -> None:
    with pytest.raises(ValueError, match="at least one"):
        contact_sheet(frames)


def test_sheets_want_one_size_and_a_column() -> None:
    frame = np.zeros((4, 4, 3), np.uint8)
    with pytest.raises(ValueError, match="one size"):
        contact_sheet([frame, frame[:3]])
    with pytest.raises(ValueError, match="positive"):
        contact_sheet([frame], columns=0)


@given(sizes=SIZES, gap=st.integers(0, 5))
def test_every_panel_is_kept_whole(sizes: list[tuple[int, int]], gap: int) -> None:
    rng = np.random.default_rng(0)
    panels = [rng.integers(0, 255, (*size, 3), dtype=np.uint8) for size in sizes]
    frame = side_by_side(panels, gap=gap)
    left = 0
    for panel in panels:
        height, width = panel.shape[:2]
        np.testing.assert_array_equal(frame[:height, left : left + width], panel)
        assert (frame[height:, left : left + width] == 255).all()
        left += width + gap
    assert frame.shape == (max(h for h, _ in sizes), left - gap, 3)


def test_titles_stand_above_their_panels() -> None:
    panel = np.full((10, 40, 3), 200, np.uint8)
    plain, titled = side_by_side([panel, panel]), side_by_side({"input": panel, "vis": panel})
    top = len(titled) - len(plain)
    np.testing.assert_array_equal(titled[top:], plain)
    for half in (titled[:top, :40], titled[:top, 44:]):
        assert (half < 100).any()


@pytest.mark.parametrize("panel", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), None])
def test_panels_are_pictures(panel: np.ndarray | None) -> None:
    with pytest.raises(ValueError, match=r"uint8 \(h, w, 3\), at least one, got"):
        side_by_side([] if panel is None else [panel])
