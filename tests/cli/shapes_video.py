"""A short video by rule: textured ground, moving shapes, exact masks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class ShapesVideo:
    """Hold the frames and the truth of a made-up video.

    Args:
        frames: uint8 RGB (T, H, W, 3).
        masks: bool (O, T, H, W), visible parts; no two overlap, and no object leaves the frame.
        names: what the O objects are.
    """

    frames: NDArray[np.uint8]
    masks: NDArray[np.bool_]
    names: tuple[str, ...]


def make_shapes_video(
    num_frames: int = 12, height: int = 128, width: int = 192, *, seed: int = 0
) -> ShapesVideo:
    """Draw a disc, a square and a triangle crossing a textured ground under a moving camera.

    Args:
        num_frames: T.
        height: H in pixels, at least 32.
        width: W in pixels, at least 32.
        seed: the same number gives the same video.

    Returns:
        The frames and the three objects' masks.

    Raises:
        ValueError: no frame, or a side under 32 pixels.

    Example:
        >>> video = make_shapes_video(2, 32, 48)
        >>> video.frames.shape, video.masks.shape
        ((2, 32, 48, 3), (3, 2, 32, 48))
    """
    if num_frames < 1 or min(height, width) < 32:
        raise ValueError(
            "make_shapes_video: needs at least one frame and sides of at least 32 pixels, "
            f"got {num_frames} frames of {height}x{width}"
        )
    rng = np.random.default_rng(seed)
    ground = _texture(rng, 3 * height, 3 * width, (120, 140, 110))
    skins = [_texture(rng, height, width, color) for color in _COLORS]
    frames = np.empty((num_frames, height, width, 3), np.uint8)
    masks = np.zeros((len(_SHAPES), num_frames, height, width), np.bool_)
    for t in range(num_frames):
        phase = t / max(1, num_frames - 1)
        shift = round(phase * width / 6)
        frame = ground[shift : shift + height, shift : shift + width].copy()
        for number, (name, skin) in enumerate(zip(_SHAPES, skins, strict=True)):
            mask = _shape_mask(name, phase, height, width)
            frame[mask] = skin[mask]
            masks[:number, t] &= ~mask
            masks[number, t] = mask
        frames[t] = frame
    return ShapesVideo(frames, masks, tuple(_SHAPES))


# Centres (x, y) at the start and at the end as fractions of width and height; radius as a
# fraction of the shorter side.
_SHAPES: dict[str, tuple[tuple[float, float], tuple[float, float], float]] = {
    "disc": ((0.2, 0.3), (0.75, 0.35), 0.17),
    "square": ((0.8, 0.7), (0.35, 0.72), 0.16),
    "triangle": ((0.5, 0.25), (0.55, 0.75), 0.15),
}
_COLORS = ((210, 60, 50), (60, 90, 210), (230, 200, 60))


def _shape_mask(name: str, phase: float, height: int, width: int) -> NDArray[np.bool_]:
    start, end, radius = _SHAPES[name]
    center_x = (start[0] + phase * (end[0] - start[0])) * width
    center_y = (start[1] + phase * (end[1] - start[1])) * height
    y, x = np.mgrid[:height, :width]
    unit = radius * min(height, width)
    dx, dy = (x - center_x) / unit, (y - center_y) / unit
    if name == "disc":
        return dx**2 + dy**2 <= 1
    if name == "square":
        return np.maximum(abs(dx), abs(dy)) <= 0.85
    return (dy <= 0.8) & (dy >= -1 + 2 * abs(dx))


def _texture(
    rng: np.random.Generator, height: int, width: int, color: tuple[int, int, int]
) -> NDArray[np.uint8]:
    """Smooth blotches of several sizes around a colour."""
    field = np.zeros((height, width))
    for cell in (4, 12, 32):
        grid = rng.standard_normal((height // cell + 2, width // cell + 2))
        rows, columns = np.arange(height) / cell, np.arange(width) / cell
        top, left = rows.astype(int), columns.astype(int)
        down, right = (rows - top)[:, None], (columns - left)[None]
        upper = grid[top][:, left] * (1 - right) + grid[top][:, left + 1] * right
        lower = grid[top + 1][:, left] * (1 - right) + grid[top + 1][:, left + 1] * right
        field += upper * (1 - down) + lower * down
    shades = np.array(color) + 18 * field[..., None]
    return np.clip(shades, 0, 255).astype(np.uint8)
