"""The outlines of things: signed distance by class, exact in sign."""

from __future__ import annotations

from collections.abc import Callable
from math import cos, pi, sin, sqrt

import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.floating]
Outline = Callable[[Field, Field], Field]


def signed_distance(shape: str, x: Field, y: Field) -> Field:
    """Measure how far points lie outside a shape (negative: inside).

    The sign is exact. The size is the distance to the nearest edge's line or arc, which equals the
    distance to the outline except near its corners; that is what smoothing an edge needs.

    Args:
        shape: a name in ``SHAPES``; each fits the disc of radius 1 around the origin.
        x: to the right, any shape that broadcasts with ``y``.
        y: downwards, as rows count.

    Example:
        >>> float(signed_distance("circle", np.array(0.0), np.array(0.5)))
        -0.5
    """
    return SHAPES[shape](x, y)


def _circle(x: Field, y: Field) -> Field:
    return np.sqrt(x * x + y * y) - 1


def _square(x: Field, y: Field) -> Field:
    return np.maximum(abs(x), abs(y)) - 0.7


def _triangle(x: Field, y: Field) -> Field:
    slanted = sqrt(3) / 2 * abs(x) - 0.5 * y
    return np.maximum(slanted, y) - 0.5


def _hexagon(x: Field, y: Field) -> Field:
    ax, ay = abs(x), abs(y)
    return np.maximum(sqrt(3) / 2 * ax + 0.5 * ay, ay) - sqrt(3) / 2


def _star(x: Field, y: Field) -> Field:
    # Five lines make a pentagram; its inside is at the inner side of at least four of them.
    outermost = second = None
    for k in range(5):
        angle = 2 * pi * k / 5 - pi / 2
        value = cos(angle) * x + sin(angle) * y
        if outermost is None or second is None:
            outermost, second = value, np.full_like(value, -2)
            continue
        second = np.maximum(second, np.minimum(outermost, value))
        outermost = np.maximum(outermost, value)
    assert second is not None
    return second - cos(2 * pi / 5)


def _ring(x: Field, y: Field) -> Field:
    return abs(np.sqrt(x * x + y * y) - 0.75) - 0.22


def _cross(x: Field, y: Field) -> Field:
    ax, ay = abs(x), abs(y)
    return np.maximum(np.maximum(ax, ay) - 0.94, np.minimum(ax, ay) - 0.3)


def _crescent(x: Field, y: Field) -> Field:
    outer = np.sqrt(x * x + y * y) - 1
    bite = 0.8 - np.sqrt((x - 0.5) ** 2 + y * y)
    return np.maximum(outer, bite)


def _heart(x: Field, y: Field) -> Field:
    half = 0.5
    p, q = (x - y) / sqrt(2), (-x - y) / sqrt(2)
    lobes = np.minimum((p - half) ** 2 + q * q, p * p + (q - half) ** 2)
    return np.minimum(np.maximum(abs(p), abs(q)), np.sqrt(lobes)) - half


def _bar(x: Field, y: Field) -> Field:
    along = np.maximum(abs(x) - 0.68, 0)
    return np.sqrt(along * along + y * y) - 0.3


def _flower(x: Field, y: Field) -> Field:
    nearest = None
    for k in range(5):
        angle = 2 * pi * k / 5
        square = (x - 0.6 * sin(angle)) ** 2 + (y + 0.6 * cos(angle)) ** 2
        nearest = square if nearest is None else np.minimum(nearest, square)
    assert nearest is not None
    return np.minimum(np.sqrt(nearest) - 0.38, np.sqrt(x * x + y * y) - 0.45)


def _arrow(x: Field, y: Field) -> Field:
    head = np.maximum((x + abs(y) - 0.95) / sqrt(2), 0.1 - x)
    shaft = np.maximum(abs(x + 0.4) - 0.55, abs(y) - 0.28)
    return np.minimum(head, shaft)


SHAPES: dict[str, Outline] = {
    "circle": _circle,
    "square": _square,
    "triangle": _triangle,
    "star": _star,
    "ring": _ring,
    "cross": _cross,
    "hexagon": _hexagon,
    "heart": _heart,
    "crescent": _crescent,
    "bar": _bar,
    "flower": _flower,
    "arrow": _arrow,
}

# Turning these shows in their texture alone.
ROUND = frozenset({"circle", "ring"})
