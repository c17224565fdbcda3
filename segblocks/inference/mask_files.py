"""Masks that a person painted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segblocks.label_files import read_pixels, rgb_to_id
from segblocks.ops.label_map import masks_from_label_map
from segblocks.ops.palette import davis_palette

_MAX_COLORS = 1000


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
        ValueError: not an image, no object in it, or so many colours that it is a photograph or
            was blurred by JPEG or resizing.
    """
    pixels = read_pixels(path)
    label_map = pixels if pixels.ndim == 2 else _number_colors(rgb_to_id(pixels), path)
    if np.count_nonzero(label_map) == 0:
        raise ValueError(f"{path}: this mask is empty: every pixel is 0")
    if len(np.unique(label_map)) > _MAX_COLORS:
        raise _too_many(path)
    return masks_from_label_map(label_map)


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
