"""How pasted objects and the picture behind them move."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class ObjectPath:
    """Move an object along a bend while it turns and changes its size.

    Args:
        anchor: the frame for which the rest is given.
        center: (x, y) there, in pixels.
        step: (x, y) by which it then moves, a frame.
        bend: (x, y) by which that changes, a frame.
        angle: in radians.
        turn: change of the angle, a frame.
        growth: logarithm of the change of size, a frame.
    """

    anchor: int
    center: tuple[float, float]
    step: tuple[float, float]
    bend: tuple[float, float]
    angle: float
    turn: float
    growth: float

    def place(self, t: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the (2, 2) matrix that turns and scales the object in frame t, and its centre."""
        time = t - self.anchor
        step, bend = np.array(self.step), np.array(self.bend)
        center = np.array(self.center) + time * step + time * time / 2 * bend
        angle, scale = self.angle + time * self.turn, np.exp(time * self.growth)
        cosine, sine = scale * np.cos(angle), scale * np.sin(angle)
        return np.array([[cosine, -sine], [sine, cosine]]), center


@dataclass(frozen=True)
class CameraPath:
    """Move a window evenly over a still.

    Args:
        start: (top, left, height, width) of the window in the first frame.
        stop: in the last.
        num_frames: T.
    """

    start: tuple[float, float, float, float]
    stop: tuple[float, float, float, float]
    num_frames: int

    def window(self, t: int) -> tuple[slice, slice]:
        """Return the rows and columns that frame t shows."""
        share = t / max(self.num_frames - 1, 1)
        start, stop = np.array(self.start), np.array(self.stop)
        top, left, height, width = np.floor(start + share * (stop - start)).astype(int).tolist()
        return slice(top, top + max(height, 1)), slice(left, left + max(width, 1))


def draw_object_path(
    rng: np.random.Generator,
    size: tuple[int, int],
    num_frames: int,
    near: tuple[float, float] | None,
    *,
    travel: float,
    turn: float,
    scale_change: float,
) -> ObjectPath:
    """Draw how an object moves; in one frame at least its centre lies in the picture.

    Args:
        rng: the source of chance.
        size: (H, W) of the frames.
        num_frames: T.
        near: (x, y) by which it is in that frame, or None for anywhere.
        travel: greatest way over the video, in shorter sides of the frame.
        turn: greatest turn over the video, in degrees, and greatest angle to begin with.
        scale_change: greatest factor by which it grows or shrinks over the video.
    """
    height, width = size
    short, steps = min(size), max(num_frames - 1, 1)
    # Often the first frame, in which hinted objects must be seen.
    anchor = 0 if rng.random() < 0.5 else int(rng.integers(num_frames))
    center = rng.random(2) * (width, height)
    if near is not None:
        center = np.clip(near + rng.normal(0, 0.1 * short, 2), 0, (width - 1, height - 1))
    heading, bending = rng.uniform(0, 2 * np.pi, 2)
    speed = rng.random() * travel * short / steps
    bend = 0.5 * rng.random() * speed / steps
    return ObjectPath(
        anchor,
        (float(center[0]), float(center[1])),
        (float(speed * np.cos(heading)), float(speed * np.sin(heading))),
        (float(bend * np.cos(bending)), float(bend * np.sin(bending))),
        float(np.deg2rad(rng.uniform(-turn, turn))),
        float(np.deg2rad(rng.uniform(-turn, turn)) / steps),
        float(np.log(scale_change) * rng.uniform(-1, 1) / steps),
    )


def draw_camera_path(
    rng: np.random.Generator,
    still: tuple[int, int],
    size: tuple[int, int],
    num_frames: int,
    zoom: tuple[float, float],
    pan: float,
) -> CameraPath:
    """Draw how the window moves over the still; it has the shape of the frames and stays inside.

    Args:
        rng: the source of chance.
        still: (h, w).
        size: (H, W) of the frames.
        num_frames: T.
        zoom: least and greatest size of the window, as a share of the largest that fits.
        pan: greatest part of the free way that it goes over the video.
    """
    largest = min(still[0] / size[0], still[1] / size[1])
    shares = rng.uniform(*zoom, 2)
    # A window no more than a fifth larger or smaller at the end than at the beginning.
    shares[1] = np.clip(shares[1], shares[0] / 1.2, min(shares[0] * 1.2, zoom[1]))
    places = rng.random(2)
    moved = np.clip(places + rng.uniform(-pan, pan, 2), 0, 1)
    windows = []
    for share, (y, x) in zip(shares, (places, moved), strict=True):
        height, width = largest * share * size[0], largest * share * size[1]
        windows.append((y * (still[0] - height), x * (still[1] - width), height, width))
    start, stop = (tuple(float(v) for v in window) for window in windows)
    return CameraPath(start, stop, num_frames)  # pyright: ignore[reportArgumentType]
