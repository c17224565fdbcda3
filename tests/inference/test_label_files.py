"""Label maps survive their PNGs, and masks are read as people paint them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from segblocks.inference.label_files import (
    id_to_rgb,
    read_label_map,
    read_masks,
    rgb_to_id,
    write_label_map,
)
from segblocks.viz import davis_palette


@pytest.mark.parametrize(
    ("highest", "mode"), [(255, "P"), (256, "I;16"), (65535, "I;16"), (65536, "RGB")]
)
def test_round_trip_by_highest_id(tmp_path: Path, highest: int, mode: str) -> None:
    labels = np.array([[0, 1, highest], [3, highest - 1, 0]], np.int32)
    write_label_map(tmp_path / "a.png", labels)
    np.testing.assert_array_equal(read_label_map(tmp_path / "a.png"), labels)
    with Image.open(tmp_path / "a.png") as image:
        assert image.mode == mode
        if mode == "P":
            np.testing.assert_array_equal(np.reshape(image.getpalette(), (-1, 3)), davis_palette())


def test_one_kind_for_a_whole_video(tmp_path: Path) -> None:
    write_label_map(tmp_path / "a.png", np.array([[0, 1]]), max_id=300)
    with Image.open(tmp_path / "a.png") as image:
        assert image.mode == "I;16"


@pytest.mark.parametrize("bad", [-1, 1 << 24])
def test_ids_that_no_png_holds(tmp_path: Path, bad: int) -> None:
    with pytest.raises(ValueError, match="ids must lie"):
        write_label_map(tmp_path / "a.png", np.array([[bad]]))
    assert not (tmp_path / "a.png").exists()


@given(st.lists(st.integers(0, (1 << 24) - 1), min_size=1))
def test_colours_hold_ids(ids: list[int]) -> None:
    assert rgb_to_id(id_to_rgb(np.array(ids))).tolist() == ids


def test_masks_of_palette_and_gray(tmp_path: Path) -> None:
    labels = np.array([[0, 2, 2], [7, 0, 255]])
    write_label_map(tmp_path / "p.png", labels)
    Image.fromarray(labels.astype(np.uint8)).save(tmp_path / "l.png")
    Image.fromarray(labels > 0).save(tmp_path / "b.png")
    for name in ("p.png", "l.png"):
        masks, ids = read_masks(tmp_path / name)
        assert ids == (2, 7, 255)
        np.testing.assert_array_equal(masks, [labels == i for i in ids])
    masks, ids = read_masks(tmp_path / "b.png")
    assert ids == (1,)
    np.testing.assert_array_equal(masks[0], labels > 0)


@pytest.mark.parametrize("alpha", [False, True])
def test_masks_of_colours(tmp_path: Path, alpha: bool) -> None:
    colors = np.array([[[0, 0, 0], [255, 0, 0], [0, 9, 0]], [[255, 0, 0]] * 3], np.uint8)
    image = Image.fromarray(colors)
    (image.convert("RGBA") if alpha else image).save(tmp_path / "a.png")
    masks, ids = read_masks(tmp_path / "a.png")
    assert ids == (1, 2)
    np.testing.assert_array_equal(masks[0], [[False, True, False], [True] * 3])
    np.testing.assert_array_equal(masks[1], [[False, False, True], [False] * 3])


def test_colours_without_black_are_all_objects(tmp_path: Path) -> None:
    Image.fromarray(np.array([[[255, 0, 0], [0, 9, 0]]], np.uint8)).save(tmp_path / "a.png")
    assert read_masks(tmp_path / "a.png")[1] == (1, 2)


def test_davis_colours_keep_their_numbers(tmp_path: Path) -> None:
    labels = np.array([[0, 5, 12], [255, 5, 0]])
    Image.fromarray(davis_palette()[labels]).save(tmp_path / "a.png")
    masks, ids = read_masks(tmp_path / "a.png")
    assert ids == (5, 12, 255)
    np.testing.assert_array_equal(masks, [labels == i for i in ids])


def test_files_that_are_no_mask(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"a\.png"):
        read_masks(tmp_path / "a.png")
    (tmp_path / "a.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"a\.png.*not a readable"):
        read_masks(tmp_path / "a.png")
    for black in (np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.uint8)):
        Image.fromarray(black).save(tmp_path / "b.png")
        with pytest.raises(ValueError, match=r"b\.png.*empty"):
            read_masks(tmp_path / "b.png")
    photo = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(photo).save(tmp_path / "c.png")
    with pytest.raises(ValueError, match="no mask"):
        read_masks(tmp_path / "c.png")
