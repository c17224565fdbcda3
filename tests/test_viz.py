"""Colours and overlays."""

from __future__ import annotations

import numpy as np
import pytest

from segblocks.ops.palette import davis_palette
from segblocks.viz import contact_sheet, id_colors, overlay, overlay_semantic


def masks_of(label_map: np.ndarray, *ids: int) -> np.ndarray:
    return np.stack([label_map == i for i in ids])


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


def test_masks_and_label_map_draw_the_same() -> None:
    frame = np.random.default_rng(0).integers(0, 256, (12, 15, 3), dtype=np.uint8)
    labels = np.random.default_rng(1).choice([0, 4, 9], (12, 15))
    np.testing.assert_array_equal(
        overlay(frame, masks_of(labels, 9, 4), [9, 4]), overlay(frame, labels)
    )


def test_later_masks_are_drawn_over_earlier_ones() -> None:
    frame = np.zeros((5, 5, 3), np.uint8)
    masks = np.ones((2, 5, 5), dtype=bool)
    masks[1, :, 3:] = False
    drawn = overlay(frame, masks, alpha=1.0)
    assert tuple(drawn[2, 1]) == (0, 128, 0)
    assert tuple(drawn[2, 4]) == (128, 0, 0)


def test_neighbours_are_outlined_against_each_other() -> None:
    labels = np.array([[1, 1, 1, 2, 2, 2]] * 3, np.int32)
    frame = np.zeros((3, 6, 3), np.uint8)
    drawn = overlay(frame, labels, alpha=0)
    assert drawn.any(axis=2)[1].tolist() == [False, False, True, True, False, False]
    assert not overlay(frame, labels, alpha=0, contour=False).any()


@pytest.mark.parametrize("corner", [(0, 0), (57, 77), (57, 0), (0, 77)])
def test_texts_stay_inside(corner: tuple[int, int]) -> None:
    frame = np.full((60, 80, 3), 50, np.uint8)
    labels = np.zeros((60, 80), np.int32)
    labels[corner[0] : corner[0] + 3, corner[1] : corner[1] + 3] = 1
    plain = overlay(frame, labels)
    named = overlay(frame, labels, texts={1: "dog 1", 9: "absent"})
    assert named.shape == frame.shape
    assert ((named > 150).all(axis=2) & ~(plain > 150).all(axis=2)).sum() > 20


def test_an_object_without_a_label_shows_its_id() -> None:
    frame = np.full((60, 80, 3), 50, np.uint8)
    masks = np.zeros((2, 60, 80), bool)
    masks[0, 20:30, 20:30] = True
    drawn = [overlay(frame, masks, [7, 8], labels) for labels in ([None, None], ["dog", None])]
    changed = [(d != overlay(frame, masks, [7, 8])).any(2).sum() for d in drawn]
    assert 20 < changed[0] < changed[1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"masks": np.zeros((1, 4, 5), bool)}, r"size \(4, 4\) of the frame, got \(4, 5\)"),
        ({"masks": np.zeros((4, 4), bool)}, "label map"),
        ({"masks": np.zeros((1, 4, 4))}, "boolean"),
        ({"masks": np.zeros((4, 4), int), "ids": [1]}, "left out"),
        ({"ids": [1, 2]}, "1 numbers from 1"),
        ({"ids": [0]}, "1 numbers from 1"),
        ({"labels": ["a", "b"]}, "name the 1 masks.*got 2 labels"),
        ({"labels": ["a"], "texts": {1: "b"}}, "texts be left out"),
        ({"alpha": 1.5}, "alpha"),
        ({"frame": np.zeros((4, 4, 3))}, "uint8"),
    ],
)
def test_wrong_inputs_raise(change, message) -> None:
    inputs = {"frame": np.zeros((4, 4, 3), np.uint8), "masks": np.zeros((1, 4, 4), bool)}
    with pytest.raises(ValueError, match=message):
        overlay(**{**inputs, **change})


def test_semantic_classes_are_coloured_from_zero() -> None:
    frame = np.full((4, 3, 3), 100, np.uint8)
    semantic = np.array([[-1, 0, 2]] * 4)
    drawn = overlay_semantic(frame, semantic, alpha=1.0)
    assert drawn[0].tolist() == [[100] * 3, [128, 0, 0], [128, 128, 0]]
    assert (frame == 100).all()


def test_large_regions_are_named_and_every_class_needs_a_name() -> None:
    frame = np.full((100, 100, 3), 50, np.uint8)
    semantic = np.zeros((100, 100), int)
    semantic[:5, :5] = 1
    plain = overlay_semantic(frame, semantic)
    named = overlay_semantic(frame, semantic, ["road", "speck"])
    changed = np.argwhere((plain != named).any(axis=2))
    assert len(changed) > 20
    assert changed.min(axis=0)[0] > 30
    with pytest.raises(ValueError, match="name class 1, got 1"):
        overlay_semantic(frame, semantic, ["road"])


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
