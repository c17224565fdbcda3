"""Label maps as PNG files: palette, 16 bits, or colours."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from segblocks.images import too_large
from segblocks.ops.palette import davis_palette


def write_label_map(
    path: Path, label_map: NDArray[np.integer], *, max_id: int | None = None
) -> None:
    """Write ids as a PNG that keeps them exactly.

    Ids up to 255 make a palette PNG in the colours of DAVIS; up to 65535 a grayscale PNG of 16
    bits; up to 2^24 - 1 an RGB PNG with id = R + 256 G + 65536 B.

    Args:
        path: the file; an existing one is overwritten.
        label_map: (H, W), non-negative integers.
        max_id: choose the kind of PNG for this id, so that all frames of a video get the same;
            None looks at this label map alone.

    Raises:
        ValueError: a negative id, or one of more than 24 bits.
    """
    highest = max(int(label_map.max(initial=0)), max_id or 0)
    if label_map.min(initial=0) < 0 or highest >= 1 << 24:
        raise ValueError(
            f"{path}: ids must lie in 0..{(1 << 24) - 1}, got "
            f"{int(label_map.min(initial=0))}..{highest}"
        )
    if highest <= 255:
        image = Image.fromarray(label_map.astype(np.uint8))
        image.putpalette(davis_palette().tobytes())
    elif highest <= 65535:
        image = Image.fromarray(label_map.astype(np.uint16))
    else:
        image = Image.fromarray(id_to_rgb(label_map))
    image.save(path, format="PNG")


def id_to_rgb(ids: NDArray[np.integer]) -> NDArray[np.uint8]:
    """Write ids as colours, id = R + 256 G + 65536 B, as panoptic PNGs do.

    Args:
        ids: integers of 0..2^24 - 1, any shape.

    Returns:
        uint8 array (..., 3).
    """
    values = ids.astype(np.int64)
    return np.stack([values & 255, values >> 8 & 255, values >> 16], -1).astype(np.uint8)


def rgb_to_id(colors: NDArray[np.integer]) -> NDArray[np.int64]:
    """Read colours as ids, the inverse of `id_to_rgb`."""
    red, green, blue = np.moveaxis(colors.astype(np.int64), -1, 0)
    return red + 256 * green + 65536 * blue


def read_label_map(path: Path) -> NDArray[np.int64]:
    """Read the ids of a palette or grayscale PNG, or of an RGB PNG with id = R + 256 G + 65536 B.

    Args:
        path: what `write_label_map` wrote.

    Returns:
        (H, W), int64.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: not an image.
    """
    pixels = read_pixels(path)
    return pixels.astype(np.int64) if pixels.ndim == 2 else rgb_to_id(pixels)


def read_pixels(path: Path) -> NDArray[np.integer]:
    """Read a PNG as it is stored.

    Args:
        path: the file.

    Returns:
        (H, W) int64 of a palette or grayscale picture, (H, W, 3) uint8 of any other.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: not an image, or one of more pixels than Pillow takes.
    """
    try:
        with Image.open(path) as image:
            if image.mode in ("P", "L", "1") or image.mode.startswith("I"):
                return np.array(image).astype(np.int64)
            return np.array(image.convert("RGB"))
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such mask file") from None
    except Image.DecompressionBombError as error:
        raise too_large(path, error) from error
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise ValueError(f"{path}: not a readable image ({error})") from error
