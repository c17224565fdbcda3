"""Colours and overlays."""

from __future__ import annotations

import numpy as np
import pytest

from segblocks.viz import contact_sheet, davis_palette, id_colors, overlay


def test_palette_is_the_one_of_voc() -> None:
    palette = davis_palette()
    known = {0: (0, 0, 0), 1: (128, 0, 0), 2: (0, 128, 0), 3: (128, 128, 0), 4: (0, 0, 128)}
    known |= {8: (64, 0, 0), 15: (192, 128, 128), 19: (128, 192, 0), 255: (224, 224, 192)}
    for number, color in known.items():
        assert tuple(palette[number]) == color
    assert len(np.unique(palette, axis=0)) == 256
    with pytest.raises(ValueError, match="read-only"):
        palette[0] = 1


def test_high_ids_have_colours_and_zero_is_black() -> None:
    colors = id_colors(np.array([0, 1, 255, 256, 511, 100_000]))
    assert tuple(colors[0]) == (0, 0, 0)
    assert (colors[1:].max(axis=1) > 0).all()
    np.testing.assert_array_equal(colors[1], colors[3])


def test_overlay_tints_inside_outlines_and_keeps_the_rest() -> None:
    frame = np.full((9, 9, 3), 100, np.uint8)
    labels = np.zeros((9, 9), np.int32)
    labels[2:7, 2:7] = 3
    drawn = overlay(frame, labels, alpha=0.25)
    np.testing.assert_array_equal(drawn[labels == 0], frame[labels == 0])
    assert tuple(drawn[4, 4]) == (107, 107, 75)
    assert tuple(drawn[2, 4]) == (128, 128, 0)
    assert (frame == 100).all()


def test_neighbours_are_outlined_against_each_other() -> None:
    labels = np.array([[1, 1, 1, 2, 2, 2]] * 3, np.int32)
    drawn = overlay(np.zeros((3, 6, 3), np.uint8), labels, alpha=0)
    assert drawn.any(axis=2)[1].tolist() == [False, False, True, True, False, False]


@pytest.mark.parametrize("corner", [(0, 0), (57, 77), (57, 0), (0, 77)])
def test_texts_stay_inside(corner: tuple[int, int]) -> None:
    frame = np.full((60, 80, 3), 50, np.uint8)
    labels = np.zeros((60, 80), np.int32)
    labels[corner[0] : corner[0] + 3, corner[1] : corner[1] + 3] = 1
    plain = overlay(frame, labels)
    named = overlay(frame, labels, texts={1: "dog 1", 9: "absent"})
    assert named.shape == frame.shape
    assert ((named > 150).all(axis=2) & ~(plain > 150).all(axis=2)).sum() > 20


def test_overlay_wants_one_size() -> None:
    with pytest.raises(ValueError, match="label_map"):
        overlay(np.zeros((4, 4, 3), np.uint8), np.zeros((4, 5), np.int32))


def test_contact_sheet_holds_every_frame() -> None:
    colors = [(10, 0, 200), (20, 0, 200), (30, 0, 200)]
    first, second, third = (np.full((8, 10, 3), color, np.uint8) for color in colors)
    sheet = contact_sheet({"a": [first, second], "b": [third]})
    for color in colors:
        assert (sheet == color).all(axis=2).sum() == 80
    with pytest.raises(ValueError, match="no frame"):
        contact_sheet({"a": []})
