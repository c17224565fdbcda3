"""Pictures as frames: files, folders in natural order, arrays that were handed in."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError

IMAGE_SUFFIXES = (
    ".jpg",
    ".jpeg",
    ".png",
    ".bmp",
    ".webp",
    ".tif",
    ".tiff",
    ".ppm",
    ".pgm",
)
_DEEP_MODES = ("I", "F")


def natural_key(name: str) -> tuple[tuple[int, int, str], ...]:
    """Sort key that puts ``frame2`` before ``frame10``.

    Args:
        name: file name.

    Returns:
        Its runs of digits as numbers and the text between them, case folded.

    Example:
        >>> sorted(["f10.png", "f2.png"], key=natural_key)
        ['f2.png', 'f10.png']
    """
    parts = re.split(r"([0-9]+)", name.casefold())
    return tuple((0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts)


def list_images(folder: Path) -> list[Path]:
    """Pictures of a folder in natural order; hidden files and other kinds of files are left out.

    Args:
        folder: an existing folder; its subfolders are not entered.

    Returns:
        At least one path.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: the folder holds no picture, or two pictures differ by their suffix alone, which
            is what frames lying beside their masks look like.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder")
    files = [
        path
        for path in folder.iterdir()
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")
    ]
    if not files:
        raise ValueError(f"{folder}: no image in this folder (looked for {list_suffixes()})")
    files.sort(key=lambda path: (natural_key(path.name), path.name))
    seen: dict[str, Path] = {}
    for path in files:
        twin = seen.setdefault(path.stem, path)
        if twin is not path:
            raise ValueError(
                f"{folder}: {twin.name} and {path.name} are two images for one frame; "
                "keep one kind in the folder"
            )
    return files


def plain_name(name: str) -> str:
    """Return a file name without its image suffix; other dots belong to the name.

    Example:
        >>> plain_name("clip.0007.JPG"), plain_name("clip.0007")
        ('clip.0007', 'clip.0007')
    """
    stem, dot, suffix = name.rpartition(".")
    return stem if stem and dot + suffix.lower() in IMAGE_SUFFIXES else name


def list_suffixes() -> str:
    """The image suffixes as one readable string."""
    return ", ".join(suffix[1:] for suffix in IMAGE_SUFFIXES)


def read_image(path: Path, *, upright: bool = True) -> np.ndarray:
    """Read a picture as RGB.

    Grayscale and palette pictures are expanded; an alpha channel is dropped.

    Args:
        path: image file.
        upright: turn it by its EXIF orientation; otherwise the pixels are as they are stored, which
            is what the masks of datasets are drawn on.

    Returns:
        uint8 array (H, W, 3).

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, not an image, deeper than 8 bits a channel, or of more
            pixels than Pillow takes.
    """
    try:
        with Image.open(path) as image:
            return image_to_rgb(image, str(path), upright=upright)
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such image file") from None
    except Image.DecompressionBombError as error:
        raise too_large(path, error) from error
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise ValueError(f"{path}: not a readable image ({error})") from error


def too_large(path: Path, error: Exception) -> ValueError:
    """Say of a picture that Pillow refused for its size how large it is, and what to do."""
    pixels = re.search(r"\((\d+) pixels\)", str(error))
    size = f"{int(pixels[1]):,} pixels are" if pixels else "it is"
    return ValueError(
        f"{path}: {size} too large an image; scale it down, or raise PIL.Image.MAX_IMAGE_PIXELS "
        "if you trust the file"
    )


def image_to_rgb(image: Image.Image, where: str, *, upright: bool = True) -> np.ndarray:
    """Pixels of an opened picture as RGB, upright or as stored; ``where`` is named in errors."""
    if image.mode.startswith(_DEEP_MODES):
        raise ValueError(f"{where}: expected 8 bits a channel, got an image of mode {image.mode!r}")
    turned = ImageOps.exif_transpose(image) if upright else image
    return np.array(turned.convert("RGB"))


def read_images(paths: list[Path]) -> Iterator[np.ndarray]:
    """Read pictures one by one."""
    for path in paths:
        yield read_image(path)


def to_frame(value: Any, where: str) -> np.ndarray:
    """Take what an iterable of frames gave as one RGB frame.

    Args:
        value: array or tensor (H, W, 3), tensor (3, H, W), PIL image, or path of an image file.
        where: what to call it in errors, such as ``"frames[3]"``.

    Returns:
        uint8 array (H, W, 3).

    Raises:
        TypeError: not a frame at all.
        ValueError: wrong shape, channel count or dtype.
    """
    if isinstance(value, Image.Image):
        return image_to_rgb(value, where)
    if isinstance(value, str | Path):
        return read_image(Path(value))
    if isinstance(value, torch.Tensor):
        channels_first = value.ndim == 3 and value.shape[0] == 3 and value.shape[2] != 3
        value = (value.permute(1, 2, 0) if channels_first else value).detach().cpu().numpy()
    if not isinstance(value, np.ndarray):
        kind = type(value).__name__
        raise TypeError(f"{where}: expected an array (H, W, 3) of uint8, got {kind}")
    check_frame(value, where)
    return np.ascontiguousarray(value)


def check_frame(frame: np.ndarray, where: str) -> None:
    """Refuse an array that is not (H, W, 3) uint8 with at least one pixel."""
    if frame.ndim != 3 or frame.shape[2] != 3 or 0 in frame.shape:
        raise ValueError(f"{where}: expected shape (H, W, 3), got {tuple(frame.shape)}")
    if frame.dtype != np.uint8:
        raise ValueError(
            f"{where}: expected uint8 values 0..255, got {frame.dtype}; "
            "scale and convert the frames first"
        )
