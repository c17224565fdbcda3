"""What all readers and writers of datasets do with files."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from segblocks.images import read_image
from segblocks.label_files import read_pixels

JPEG_QUALITY = 95


def read_json(path: Path, *, object_hook: Callable[[dict[str, Any]], Any] | None = None) -> Any:
    """Read a JSON file.

    Args:
        path: the file.
        object_hook: is given every object as soon as it is read, and returns what takes its place.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is no JSON; the message holds the place.
    """
    try:
        with path.open(encoding="utf-8") as file:
            return json.load(file, object_hook=object_hook)
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such file") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not readable as JSON ({error})") from error


def get_field(record: Any, field: str, where: str) -> Any:
    """Return a field of a JSON record.

    Args:
        record: what should be an object.
        field: the key.
        where: file and place of the record, for the message.

    Raises:
        ValueError: not an object, or it lacks the field.
    """
    if not isinstance(record, Mapping):
        raise ValueError(f"{where}: expected an object, got {type(record).__name__}")
    if field not in record:
        raise ValueError(f"{where}: the field {field!r} is missing")
    return record[field]


def read_ids(path: Path, size: tuple[int, int], *, channels: int | None = None) -> NDArray[Any]:
    """Read the pixels of an annotation picture as they are stored.

    Args:
        path: a PNG.
        size: (H, W) that it must have.
        channels: 1 or 3, None takes either.

    Returns:
        (H, W) int64, or (H, W, 3) uint8.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: no picture, another size, or another number of channels.
    """
    pixels = read_pixels(path)
    if pixels.shape[:2] != size:
        raise ValueError(
            f"{path}: expected {size[0]}x{size[1]} pixels (height x width) like its picture, "
            f"got {pixels.shape[0]}x{pixels.shape[1]}"
        )
    if channels is not None and (pixels.ndim == 2) != (channels == 1):
        kind = "grayscale or palette" if pixels.ndim == 2 else "RGB"
        raise ValueError(f"{path}: expected {channels} channel(s), got a {kind} picture")
    return pixels


def picture_size(path: Path) -> tuple[int, int]:
    """Return (H, W) of a picture without decoding it.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: no picture.
    """
    try:
        with Image.open(path) as image:
            return image.height, image.width
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such picture") from None
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise ValueError(f"{path}: not a readable picture ({error})") from error


@dataclass(frozen=True)
class FrameFiles:
    """Read frames from picture files, as they are stored: EXIF turns no frame away from its masks.

    Args:
        paths: of all frames, in order.
        size: (H, W) that all must have.
    """

    paths: tuple[Path, ...]
    size: tuple[int, int]

    def __call__(self, t: int) -> NDArray[np.uint8]:
        """Return frame ``t``, (H, W, 3) uint8 RGB."""
        frame = read_image(self.paths[t], upright=False)
        if frame.shape[:2] != self.size:
            raise ValueError(
                f"{self.paths[t]}: expected {self.size[0]}x{self.size[1]} pixels (height x width), "
                f"got {frame.shape[0]}x{frame.shape[1]}"
            )
        return frame


def list_folder(folder: Path) -> list[Path]:
    """Return what is in a folder, sorted by name, without hidden files.

    Raises:
        FileNotFoundError: there is no such folder.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder")
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def first_existing(root: Path, places: Sequence[str]) -> Path:
    """Return the first of several places that exists.

    Raises:
        FileNotFoundError: none does; the message lists all.
    """
    for place in places:
        if (root / place).exists():
            return root / place
    raise FileNotFoundError(f"{root}: found none of {', '.join(places)} in this folder")


def read_names(path: Path) -> list[str]:
    """Read a list of names, one a line; empty lines are left out.

    Raises:
        FileNotFoundError: there is no such file.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such list of videos") from None
    return [name for line in lines if (name := line.strip())]


def check_folder_name(name: str, writer: str) -> str:
    """Return the name of a video or picture that a layout uses for a folder or file.

    Args:
        name: what the video or picture is called.
        writer: who asks, for messages.

    Raises:
        ValueError: the name is empty or hidden, or holds a slash, so that it would not be found.
    """
    if not name or name.startswith(".") or set(name) & set("/\\"):
        raise ValueError(
            f"{writer}: a name becomes a folder or file of this layout, so that it must not be "
            f"empty, begin with a dot or hold a slash, got {name!r}; rename the sample"
        )
    return name


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file, which appears whole or not at all; folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.part")
    with temporary.open("w", encoding="utf-8") as file:
        json.dump(content, file, allow_nan=False)
    os.replace(temporary, path)


def write_names(path: Path, names: Sequence[str]) -> None:
    """Write a list of names, one a line; folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
    os.replace(temporary, path)


def write_picture(path: Path, pixels: NDArray[Any]) -> None:
    """Write a picture, as JPEG or PNG by the suffix; folders are made.

    Args:
        path: ends in ``.jpg`` or ``.png``.
        pixels: (H, W, 3) uint8 RGB, or (H, W) uint8 or uint16.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.part")
    image = Image.fromarray(pixels)
    if path.suffix == ".jpg":
        image.save(temporary, format="JPEG", quality=JPEG_QUALITY, subsampling=0)
    else:
        image.save(temporary, format="PNG")
    os.replace(temporary, path)
