"""Masks that a person painted."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from segblocks.label_files import read_pixels, rgb_to_id
from segblocks.ops.label_map import masks_from_label_map
from segblocks.ops.palette import davis_palette

_MAX_COLORS = 1000
_LOSSY = ("JPEG", "MPO", "AVIF")
# A soft edge has a shade a pixel, and few neighbours of one shade; a real object that is as small
# seldom touches another, and three of them may.
_SPECK_PIXELS = 8
_MANY_SPECKS = 4


def read_masks(path: Path) -> tuple[NDArray[np.bool_], tuple[int, ...]]:
    """Read the objects that a person marked in a picture.

    In a palette or grayscale picture every value but 0 is an object and its id. In a colour
    picture every colour but black is an object: its id is the colour's number in the DAVIS palette
    where all colours are of that palette, else colours are counted from 1 by R + 256 G + 65536 B.

    Args:
        path: a PNG, or another image without loss.

    Returns:
        Masks (O, H, W) and their O ids, ascending.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: not an image, a lossy one, no object in it, so many colours that it is a
            photograph, or soft edges: most values are specks beside others.
    """
    has_palette = _check_format(path)
    pixels = read_pixels(path)
    label_map = pixels if pixels.ndim == 2 else _number_colors(rgb_to_id(pixels), path)
    if np.count_nonzero(label_map) == 0:
        raise ValueError(f"{path}: this mask is empty: every pixel is 0")
    if len(np.unique(label_map)) > _MAX_COLORS:
        raise _too_many(path)
    masks, ids = masks_from_label_map(label_map)
    # Nobody paints with a palette by accident.
    if not has_palette:
        _check_edges(path, label_map, masks)
    return masks, ids


def _check_format(path: Path) -> bool:
    """Refuse pictures with loss; returns whether a picture has a palette."""
    with suppress(OSError, SyntaxError, Image.DecompressionBombError), Image.open(path) as image:
        lossy = image.format in _LOSSY or (image.format == "WEBP" and not _is_lossless_webp(path))
        if lossy:
            raise ValueError(
                f"{path}: {image.format} changes values, so that objects get wrong edges; save "
                "masks as PNG, from what they were made of"
            )
        return image.mode == "P"
    return False


def _is_lossless_webp(path: Path) -> bool:
    # The picture's chunk comes after the header, behind at most a few small ones.
    with path.open("rb") as file:
        return b"VP8L" in file.read(4096)


def _check_edges(path: Path, label_map: NDArray[np.integer], masks: NDArray[np.bool_]) -> None:
    """Refuse a mask with soft edges, whose shades would all be objects."""
    num_specks = sum(_is_speck(mask, label_map) for mask in masks)
    if num_specks >= _MANY_SPECKS and 2 * num_specks > len(masks):
        raise ValueError(
            f"{path}: {num_specks} of {len(masks)} values are specks of a few pixels at the edges "
            "of others, as soft edges and resizing make them; paint without anti-aliasing, resize "
            "with NEAREST, or threshold (such as mask > 127), one flat value an object"
        )


def _is_speck(mask: NDArray[np.bool_], label_map: NDArray[np.integer]) -> bool:
    """Whether an object has only parts of few pixels, most of which touch another object."""
    parts: NDArray[np.int32] = np.empty(mask.shape, np.int32)
    ndimage.label(mask, np.ones((3, 3)), output=parts)
    num_parts = int(parts.max())
    if np.bincount(parts.ravel(), minlength=2)[1:].max() > _SPECK_PIXELS:
        return False
    others = (label_map > 0) & ~mask
    near_others = np.asarray(ndimage.binary_dilation(others, np.ones((3, 3))), np.bool_)
    beside = np.unique(parts[mask & near_others])
    return 2 * len(beside) > num_parts


def _number_colors(colors: NDArray[np.int64], path: Path) -> NDArray[np.int64]:
    known, positions = np.unique(colors, return_inverse=True)
    if len(known) > _MAX_COLORS:
        raise _too_many(path)
    palette = rgb_to_id(davis_palette())
    order = np.argsort(palette)
    places = np.searchsorted(palette[order], known).clip(max=255)
    if (palette[order][places] == known).all():
        numbers = order[places]
    else:
        numbers = np.arange(len(known)) + (0 if known[0] == 0 else 1)
    return numbers[positions].reshape(colors.shape)


def _too_many(path: Path) -> ValueError:
    return ValueError(
        f"{path}: more than {_MAX_COLORS} different values, so this is no mask; save masks as PNG "
        "with one flat value an object"
    )
