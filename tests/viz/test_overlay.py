"""Masks and label maps over frames."""

from __future__ import annotations

import numpy as np
import pytest

from segblocks.viz import id_color, overlay, overlay_semantic


def masks_of(label_map: np.ndarray, *ids: int) -> np.ndarray:
    return np.stack([label_map == i for i in ids])


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


def test_names_stand_on_the_colour_of_their_object() -> None:
    frame = np.full((60, 80, 3), 50, np.uint8)
    masks = np.zeros((2, 60, 80), bool)
    masks[0, 5:8, 5:8] = masks[1, 40:43, 40:43] = True
    drawn = overlay(frame, masks, [7, 3], ["dog", "cat"])
    for number in (7, 3):
        assert (drawn == id_color(number)).all(axis=2).sum() > 60


def test_colours_of_an_id_do_not_depend_on_the_other_objects() -> None:
    frame = np.zeros((9, 9, 3), np.uint8)
    labels = np.zeros((9, 9), np.int32)
    labels[2:7, 2:7] = 5
    alone = overlay(frame, labels)
    labels[0] = 2
    np.testing.assert_array_equal(overlay(frame, labels)[2:7, 2:7], alone[2:7, 2:7])
