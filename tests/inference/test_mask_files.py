"""Masks are read as people paint them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

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


def disc(scale: int = 1, color: int | tuple[int, int, int] = 255) -> Image.Image:
    image = Image.new("L" if isinstance(color, int) else "RGB", (64 * scale, 48 * scale))
    draw = ImageDraw.Draw(image)
    draw.ellipse([scale * n for n in (10, 8, 40, 38)], fill=color)
    return image


@pytest.mark.parametrize(
    ("name", "options"), [("a.jpg", {}), ("a.JPEG", {"quality": 100}), ("a.webp", {"quality": 100})]
)
def test_lossy_formats_are_refused(tmp_path: Path, name: str, options: dict[str, int]) -> None:
    disc().save(tmp_path / name, **options)
    with pytest.raises(ValueError, match="save masks as PNG"):
        read_masks(tmp_path / name)
    # The content counts, not the suffix.
    (tmp_path / "a.png").write_bytes((tmp_path / name).read_bytes())
    with pytest.raises(ValueError, match="save masks as PNG"):
        read_masks(tmp_path / "a.png")


@pytest.mark.parametrize(("name", "options"), [("a.webp", {"lossless": True}), ("a.bmp", {})])
def test_other_formats_without_loss_are_read(
    tmp_path: Path, name: str, options: dict[str, bool]
) -> None:
    disc().save(tmp_path / name, **options)
    masks, ids = read_masks(tmp_path / name)
    assert len(ids) == 1
    np.testing.assert_array_equal(masks[0], np.array(disc()) > 0)


@pytest.mark.parametrize("color", [255, (250, 40, 0)])
@pytest.mark.parametrize("resample", ["BILINEAR", "BICUBIC", "LANCZOS", "BOX"])
def test_soft_edges_are_refused(
    tmp_path: Path, resample: str, color: int | tuple[int, int, int]
) -> None:
    soft = disc(4, color).resize((64, 48), Image.Resampling[resample])
    soft.save(tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"specks.*threshold"):
        read_masks(tmp_path / "a.png")
    disc(4, color).resize((64, 48), Image.Resampling.NEAREST).save(tmp_path / "b.png")
    assert len(read_masks(tmp_path / "b.png")[1]) == 1


def test_noise_of_jpeg_saved_as_png_is_refused(tmp_path: Path) -> None:
    disc().save(tmp_path / "a.jpg", quality=50)
    Image.open(tmp_path / "a.jpg").save(tmp_path / "a.png")
    with pytest.raises(ValueError, match="specks"):
        read_masks(tmp_path / "a.png")


def test_small_objects_and_thin_scribbles_are_objects(tmp_path: Path) -> None:
    labels = np.zeros((48, 64), np.uint8)
    for number in range(1, 31):  # a flock, two pixels each
        y, x = divmod(4 * number, 60)
        labels[4 * y : 4 * y + 2, x] = number
    Image.fromarray(labels).save(tmp_path / "flock.png")
    assert read_masks(tmp_path / "flock.png")[1] == tuple(range(1, 31))
    labels[:] = 0
    for number in range(1, 7):  # lines of one pixel that cross
        labels[4 * number] = number
    labels[:, 20] = 9
    Image.fromarray(labels).save(tmp_path / "lines.png")
    assert read_masks(tmp_path / "lines.png")[1] == (1, 2, 3, 4, 5, 6, 9)


def test_three_small_objects_may_touch_another(tmp_path: Path) -> None:
    labels = np.zeros((48, 64), np.uint8)
    labels[10:30, 10:30] = 7
    labels[15, 30:33], labels[20, 30:33], labels[25, 30] = 1, 2, 3
    Image.fromarray(labels).save(tmp_path / "a.png")
    assert read_masks(tmp_path / "a.png")[1] == (1, 2, 3, 7)
