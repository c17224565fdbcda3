"""Colours for ids, and masks drawn over frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw


@cache
def davis_palette() -> NDArray[np.uint8]:
    """Return the 256 colours of PASCAL VOC and DAVIS, number 0 being black.

    The bits of an id, three at a time from the lowest, become the bits of red, green and blue from
    the highest, so that neighbouring ids differ strongly.

    Returns:
        uint8 array (256, 3).

    Example:
        >>> davis_palette()[:3].tolist()
        [[0, 0, 0], [128, 0, 0], [0, 128, 0]]
    """
    ids = np.arange(256)[:, None]
    channels = np.arange(3)
    palette = np.zeros((256, 3), np.int64)
    for step in range(8):
        palette |= ((ids >> (3 * step + channels)) & 1) << (7 - step)
    palette = palette.astype(np.uint8)
    palette.setflags(write=False)
    return palette


def id_colors(ids: NDArray[np.integer]) -> NDArray[np.uint8]:
    """Give every id a colour: its palette entry, the 255 colours repeating for higher ids.

    Args:
        ids: non-negative integers of any shape; 0 is black.

    Returns:
        uint8 array (..., 3).
    """
    values = np.asarray(ids)
    return davis_palette()[np.where(values > 0, (values - 1) % 255 + 1, 0)]


def overlay(
    frame: NDArray[np.uint8],
    label_map: NDArray[np.integer],
    *,
    texts: Mapping[int, str] | None = None,
    alpha: float = 0.5,
) -> NDArray[np.uint8]:
    """Tint the objects of a frame, outline them, and name them.

    Args:
        frame: RGB (H, W, 3).
        label_map: (H, W), each pixel the id of its object; 0 is left as it is.
        texts: id -> what to write at the object's top; ids without a text get none.
        alpha: weight of the colour inside an object, 0..1; outlines are solid.

    Returns:
        A new frame, uint8 (H, W, 3).

    Raises:
        ValueError: frame and label map differ in size.

    Example:
        >>> frame, ids = np.full((4, 6, 3), 100, np.uint8), np.zeros((4, 6), np.int32)
        >>> bool((overlay(frame, ids) == frame).all())
        True
    """
    if frame.shape[:2] != label_map.shape:
        raise ValueError(
            f"overlay: label_map must be {frame.shape[:2]} like the frame, got {label_map.shape}"
        )
    colors = id_colors(label_map).astype(np.float32)
    mixed = np.rint(frame * (1 - alpha) + colors * alpha).astype(np.uint8)
    inside = label_map != 0
    drawn = np.where(inside[..., None], mixed, frame)
    edge = inside & _borders(label_map)
    drawn[edge] = colors[edge]
    return _write_texts(drawn, label_map, texts) if texts else drawn


def contact_sheet(
    rows: Mapping[str, Sequence[NDArray[np.uint8]]], *, gap: int = 4
) -> NDArray[np.uint8]:
    """Lay frames out on one sheet, a titled row for each entry.

    Args:
        rows: title -> frames of one size, which is the same for all rows.
        gap: pixels between frames.

    Returns:
        uint8 array (H, W, 3) on white.

    Raises:
        ValueError: no frame at all.
    """
    frames = [frame for row in rows.values() for frame in row]
    if not frames:
        raise ValueError("contact_sheet: rows hold no frame")
    height, width = frames[0].shape[:2]
    title = 14
    columns = max(len(row) for row in rows.values())
    size = (columns * (width + gap) + gap, len(rows) * (height + title + gap) + gap)
    sheet = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(sheet)
    for y, (name, row) in enumerate(rows.items()):
        top = gap + y * (height + title + gap)
        draw.text((gap, top), name, fill="black")
        for x, frame in enumerate(row):
            sheet.paste(Image.fromarray(frame), (gap + x * (width + gap), top + title))
    return np.array(sheet)


def _borders(label_map: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Pixels with another id to the left, right, above or below."""
    border = np.zeros(label_map.shape, np.bool_)
    across = label_map[:, 1:] != label_map[:, :-1]
    down = label_map[1:] != label_map[:-1]
    border[:, 1:] |= across
    border[:, :-1] |= across
    border[1:] |= down
    border[:-1] |= down
    return border


def _write_texts(
    frame: NDArray[np.uint8], label_map: NDArray[np.integer], texts: Mapping[int, str]
) -> NDArray[np.uint8]:
    image = Image.fromarray(frame)
    draw = ImageDraw.Draw(image)
    for number, text in texts.items():
        rows, columns = np.nonzero(label_map == number)
        if len(rows) == 0:
            continue
        corner = (int(columns[0]), int(rows[0]))
        box = draw.textbbox(corner, text)
        # A name that would leave the frame is moved back in, as far as it fits.
        left = max(0, min(corner[0], frame.shape[1] - int(box[2] - box[0]) - 1))
        top = max(0, min(corner[1], frame.shape[0] - int(box[3] - corner[1]) - 1))
        draw.rectangle(draw.textbbox((left, top), text), fill="black")
        draw.text((left, top), text, fill="white")
    return np.array(image)
