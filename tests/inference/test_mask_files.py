"""Masks are read as people paint them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segblocks.inference.mask_files import read_masks
from segblocks.label_files import write_label_map
from segblocks.ops.palette import davis_palette


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
