"""Frames that show where something is strong: heat on a dimmed frame, light on a chosen part."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_DIMMED = 0.35
# From nothing over purple, red and orange to a pale yellow, ever brighter.
_STOPS = np.array(
    [(0, 0, 0), (87, 16, 110), (188, 55, 84), (249, 142, 9), (252, 255, 164)], np.float32
)


def draw_heat(
    frame: NDArray[np.uint8], values: NDArray[np.floating], top: float | None = None
) -> NDArray[np.uint8]:
    """Draw values over a dimmed grey frame, from purple to yellow.

    Args:
        frame: RGB, (H, W, 3).
        values: (H, W), 0 or more; the colour grows with the square root, or faint parts would
            not be seen beside the strong ones.
        top: the value of the brightest colour; by default the highest in ``values``.

    Returns:
        A new frame, (H, W, 3); where a value is 0, the dimmed frame alone.

    Raises:
        ValueError: values that differ from the frame in size.

    Example:
        >>> frame = np.full((4, 6, 3), 100, np.uint8)
        >>> draw_heat(frame, np.zeros((4, 6)))[0, 0].tolist()
        [35, 35, 35]
    """
    _check_size("draw_heat", "values", frame, values)
    highest = float(values.max(initial=0.0)) if top is None else top
    share = np.sqrt(np.clip(values / highest if highest > 0 else values * 0, 0, 1))
    grey = frame.mean(axis=2, keepdims=True) * _DIMMED
    stops = np.linspace(0, 1, len(_STOPS))
    heat = np.stack([np.interp(share, stops, channel) for channel in _STOPS.T], axis=2)
    weight = np.minimum(1, 4 * share)[..., None]
    return np.rint(grey * (1 - weight) + heat * weight).astype(np.uint8)


def draw_spotlight(frame: NDArray[np.uint8], mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Dim everything but a mask.

    Args:
        frame: RGB, (H, W, 3).
        mask: (H, W), what stays as it is.

    Returns:
        A new frame, (H, W, 3).

    Raises:
        ValueError: a mask that differs from the frame in size.

    Example:
        >>> frame = np.full((4, 6, 3), 100, np.uint8)
        >>> draw_spotlight(frame, np.eye(4, 6, dtype=bool))[0, :2, 0].tolist()
        [100, 35]
    """
    _check_size("draw_spotlight", "mask", frame, mask)
    grey = np.rint(frame.mean(axis=2, keepdims=True) * _DIMMED).astype(np.uint8)
    return np.where(mask[..., None], frame, grey)


def _check_size(
    caller: str, name: str, frame: NDArray[np.uint8], values: NDArray[np.generic]
) -> None:
    if frame.shape[:2] != values.shape:
        raise ValueError(
            f"{caller}: {name} must have the size {frame.shape[:2]} of the frame, "
            f"got {values.shape}"
        )
