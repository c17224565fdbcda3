"""Masks of shapes that are given by formulae, drawn at any place, size and angle."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

SIZE = 256


def draw(
    name: str,
    scale: float = 0.5,
    at: tuple[float, float] = (128.0, 128.0),
    *,
    degrees: float = 0.0,
) -> Tensor:
    """A mask (256, 256); at scale 1 the shape is 120 pixels across."""
    grid = np.arange(SIZE) + 0.5
    x, y = grid[None] - at[0], grid[:, None] - at[1]
    turn = math.radians(degrees)
    along = (x * math.cos(turn) + y * math.sin(turn)) / (60 * scale)
    across = (y * math.cos(turn) - x * math.sin(turn)) / (60 * scale)
    return torch.from_numpy(SHAPES[name](along, across))


def ellipse(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return x**2 + (y / 0.6) ** 2 <= 1


def disc(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return x**2 + y**2 <= 1


def rectangle(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return (abs(x) <= 1) & (abs(y) <= 2 / 3)


def triangle(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return (y <= 0.5) & (y >= 1.7 * abs(x) - 1)


def star(x: np.ndarray, y: np.ndarray, inner: float = 0.45, points: int = 5) -> np.ndarray:
    part = (np.arctan2(y, x) / (2 * np.pi) * points) % 1
    angle = np.minimum(part, 1 - part) * 2 * np.pi / points
    half = np.pi / points
    limit = inner * np.sin(half) / (np.sin(angle) + inner * np.sin(half - angle))
    return np.hypot(x, y) <= limit


SHAPES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "ellipse": ellipse,
    "rectangle": rectangle,
    "star": star,
    "triangle": triangle,
    "disc": disc,
}
#: The four of the tables.
NAMES = ("ellipse", "rectangle", "star", "triangle")
