"""Frames beside each other: the panels of a video, the sheet of many frames."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

_TITLE_HEIGHT = 18
_TITLE_SIZE = 13


def contact_sheet(
    frames: Sequence[NDArray[np.uint8]] | Mapping[str, Sequence[NDArray[np.uint8]]],
    columns: int | None = None,
    *,
    gap: int = 4,
) -> NDArray[np.uint8]:
    """Lay frames out on one sheet.

    Args:
        frames: RGB frames of one size, row after row; or title -> the frames of a row.
        columns: frames in a row; by default as square a sheet as can be. Titled rows have theirs.
        gap: pixels between frames.

    Returns:
        (H, W, 3), on white.

    Raises:
        ValueError: no frame, frames of different sizes, or ``columns`` that is not positive.

    Example:
        >>> contact_sheet([np.zeros((4, 6, 3), np.uint8)] * 3, columns=2, gap=1).shape
        (11, 15, 3)
    """
    if isinstance(frames, Mapping):
        rows, title = [(name, list(row)) for name, row in frames.items()], _TITLE_HEIGHT
    else:
        listed, title = list(frames), 0
        columns = math.ceil(math.sqrt(len(listed))) or 1 if columns is None else columns
        if columns < 1:
            raise ValueError(f"contact_sheet: columns must be positive, got {columns}")
        starts = range(0, len(listed), columns)
        rows = [("", listed[start : start + columns]) for start in starts]
    sizes = {frame.shape for _, row in rows for frame in row}
    if len(sizes) != 1:
        raise ValueError(
            f"contact_sheet: frames must be at least one, of one size, got {sorted(sizes)}"
        )
    height, width = sizes.pop()[:2]
    num_columns = max(len(row) for _, row in rows)
    size = (num_columns * (width + gap) + gap, len(rows) * (height + title + gap) + gap)
    sheet = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(_TITLE_SIZE)
    for y, (name, row) in enumerate(rows):
        top = gap + y * (height + title + gap)
        draw.text((gap, top), name, fill="black", font=font)
        for x, frame in enumerate(row):
            sheet.paste(Image.fromarray(frame), (gap + x * (width + gap), top + title))
    return np.array(sheet)


def side_by_side(
    panels: Sequence[NDArray[np.uint8]] | Mapping[str, NDArray[np.uint8]], *, gap: int = 4
) -> NDArray[np.uint8]:
    """Put pictures beside each other: a frame and its results, or the results of several models.

    Pictures of the same sizes and titles make frames of one size, so a video is this once a frame.

    Args:
        panels: RGB pictures (h, w, 3), or title -> picture; a title stands above its picture.
        gap: pixels between pictures.

    Returns:
        (H, W, 3), pictures from left to right, their upper borders in line, on white.

    Raises:
        ValueError: no picture, or one that is not uint8 (h, w, 3).

    Example:
        >>> frame = np.zeros((4, 6, 3), np.uint8)
        >>> side_by_side([frame, frame], gap=2).shape
        (4, 14, 3)
        >>> side_by_side({"input": frame, "result": frame}, gap=2).shape
        (22, 14, 3)
    """
    titled = isinstance(panels, Mapping)
    pictures = list(panels.values()) if isinstance(panels, Mapping) else list(panels)
    titles = list(panels) if isinstance(panels, Mapping) else [""] * len(pictures)
    wrong = [p for p in pictures if p.ndim != 3 or p.shape[2] != 3 or p.dtype != np.uint8]
    if wrong or not pictures:
        got = f"{wrong[0].shape} {wrong[0].dtype}" if wrong else "none"
        raise ValueError(f"side_by_side: panels must be uint8 (h, w, 3), at least one, got {got}")
    top = _TITLE_HEIGHT if titled else 0
    width = sum(picture.shape[1] + gap for picture in pictures) - gap
    sheet = Image.new("RGB", (width, top + max(p.shape[0] for p in pictures)), "white")
    pen = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(_TITLE_SIZE)
    left = 0
    for title, picture in zip(titles, pictures, strict=True):
        pen.text((left, 0), title, fill="black", font=font)
        sheet.paste(Image.fromarray(picture), (left, top))
        left += picture.shape[1] + gap
    return np.array(sheet)
