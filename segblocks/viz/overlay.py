"""Masks and label maps drawn over frames."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segblocks.ops.label_map import label_map_from_masks
from segblocks.viz.colors import id_color, id_colors
from segblocks.viz.labels import Label, draw_labels

# Names of smaller regions would hide them.
_NAMED_SHARE = 0.01


def overlay(
    frame: NDArray[np.uint8],
    masks: NDArray[np.bool_] | NDArray[np.integer],
    ids: Sequence[int] | None = None,
    labels: Sequence[str | None] | None = None,
    *,
    texts: Mapping[int, str] | None = None,
    alpha: float = 0.5,
    contour: bool = True,
) -> NDArray[np.uint8]:
    """Tint the objects of a frame in the colours of their ids, outline them, and name them.

    Args:
        frame: RGB, (H, W, 3).
        masks: (O, H, W) boolean, each drawn over those before it; or a label map (H, W) in which
            each pixel holds the id of its object, 0 being left as it is.
        ids: positive number of each mask; None counts from 1. Label maps have theirs already.
        labels: class name of each mask, written with its id at the top of the object; where it is
            None the id stands alone. By default nothing is written.
        texts: id -> what to write in full, instead of ``labels``; ids without a text get none.
        alpha: weight of the colour inside an object, 0 to 1.
        contour: draw the outlines, in solid colour.

    Returns:
        A new frame, (H, W, 3).

    Raises:
        ValueError: another shape or dtype, masks that differ from the frame in size, lengths that
            differ, or ``alpha`` beyond 0 to 1.

    Example:
        >>> frame, masks = np.full((4, 6, 3), 100, np.uint8), np.zeros((1, 4, 6), bool)
        >>> bool((overlay(frame, masks, [3]) == frame).all())
        True
    """
    label_map, numbers = _as_label_map(masks, ids)
    drawn = _tint("overlay", frame, label_map, alpha, contour=contour)
    if labels is not None:
        if texts is not None or len(labels) != len(numbers):
            raise ValueError(
                f"overlay: labels must name the {len(numbers)} masks, and texts be left out then, "
                f"got {len(labels)} labels and texts {texts}"
            )
        texts = {i: f"{name or ''} {i}".lstrip() for i, name in zip(numbers, labels, strict=True)}
    return draw_labels(drawn, list(_place(label_map, texts))) if texts else drawn


def overlay_semantic(
    frame: NDArray[np.uint8],
    semantic: NDArray[np.integer],
    classes: Sequence[str] | None = None,
    *,
    alpha: float = 0.5,
    contour: bool = False,
) -> NDArray[np.uint8]:
    """Tint each pixel in the colour of its class, and name the larger regions.

    Args:
        frame: RGB, (H, W, 3).
        semantic: (H, W), class indices from 0; negative pixels are left as they are.
        classes: names of the classes, such as ``vocabulary.classes``; None writes nothing.
        alpha: weight of the colour, 0 to 1.
        contour: draw the borders between classes, in solid colour.

    Returns:
        A new frame, (H, W, 3).

    Raises:
        ValueError: another shape or dtype, a map that differs from the frame in size, a class
            without a name, or ``alpha`` beyond 0 to 1.

    Example:
        >>> frame, sky = np.zeros((4, 6, 3), np.uint8), np.zeros((4, 6), int)
        >>> overlay_semantic(frame, sky)[0, 0].tolist()
        [64, 0, 0]
    """
    label_map = np.maximum(np.asarray(semantic), -1) + 1
    drawn = _tint("overlay_semantic", frame, label_map, alpha, contour=contour)
    if classes is None:
        return drawn
    areas = np.bincount(label_map.ravel(), minlength=1)
    if len(areas) - 1 > len(classes):
        raise ValueError(
            f"overlay_semantic: classes must name class {len(areas) - 2}, got {len(classes)} names"
        )
    large = np.flatnonzero(areas >= max(1, _NAMED_SHARE * label_map.size))
    labels = [
        Label(*_middle(label_map == i), classes[i - 1], id_color(i)) for i in large.tolist() if i
    ]
    return draw_labels(drawn, labels)


def _as_label_map(
    masks: NDArray[Any], ids: Sequence[int] | None
) -> tuple[NDArray[np.integer], Sequence[int]]:
    if masks.ndim == 2 and np.issubdtype(masks.dtype, np.integer):
        if ids is not None:
            raise ValueError("overlay: ids must be left out where masks is a label map")
        return masks, ()
    if masks.ndim != 3 or masks.dtype != np.bool_:
        raise ValueError(
            "overlay: masks must be boolean (O, H, W) or a label map (H, W) of integers, "
            f"got {masks.shape} {masks.dtype}"
        )
    numbers = range(1, len(masks) + 1) if ids is None else ids
    if len(numbers) != len(masks) or any(i < 1 for i in numbers):
        raise ValueError(f"overlay: ids must be {len(masks)} numbers from 1, got {list(numbers)}")
    return label_map_from_masks(masks, numbers), numbers


def _tint(
    caller: str,
    frame: NDArray[np.uint8],
    label_map: NDArray[np.integer],
    alpha: float,
    *,
    contour: bool,
) -> NDArray[np.uint8]:
    if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8:
        raise ValueError(
            f"{caller}: frame must be uint8 (H, W, 3), got {frame.shape} {frame.dtype}"
        )
    if frame.shape[:2] != label_map.shape:
        raise ValueError(
            f"{caller}: masks must have the size {frame.shape[:2]} of the frame, "
            f"got {label_map.shape}"
        )
    if not 0 <= alpha <= 1:
        raise ValueError(f"{caller}: alpha must be 0 to 1, got {alpha}")
    drawn = frame.copy()
    inside = label_map > 0
    weight = np.float32(alpha)
    colors = id_colors(label_map[inside])
    drawn[inside] = np.rint(frame[inside] * (1 - weight) + colors * weight)
    if contour:
        edge = inside & _borders(label_map)
        drawn[edge] = id_colors(label_map[edge])
    return drawn


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


def _place(label_map: NDArray[np.integer], texts: Mapping[int, str]) -> Iterator[Label]:
    """Put each text at the first pixel of its object, if that has one."""
    for number, text in texts.items():
        region = label_map == number
        if region.any():
            y, x = divmod(int(region.argmax()), label_map.shape[1])
            yield Label(x, y, text, id_color(number))


def _middle(region: NDArray[np.bool_]) -> tuple[int, int]:
    """The pixel (x, y) of a region that is nearest to its centre of mass."""
    rows, columns = np.nonzero(region)
    distance = (rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2
    nearest = int(distance.argmin())
    return int(columns[nearest]), int(rows[nearest])
