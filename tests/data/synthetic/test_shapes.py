from __future__ import annotations

from collections.abc import Callable
from math import atan2, cos, hypot, pi, sin, sqrt

import numpy as np
import pytest

from segblocks.data.synthetic.shapes import SHAPES, signed_distance

Corner = tuple[float, float]


def in_polygon(corners: list[Corner], x: float, y: float) -> bool:
    """By how often the ray to the right crosses the outline (the non-zero winding for stars)."""
    winding = 0
    for (x0, y0), (x1, y1) in zip(corners, corners[1:] + corners[:1], strict=True):
        if (y0 <= y) != (y1 <= y) and x < x0 + (y - y0) / (y1 - y0) * (x1 - x0):
            winding += 1 if y1 > y0 else -1
    return winding != 0


def regular(count: int, step: int = 1, start: float = -pi / 2) -> list[Corner]:
    angles = [start + 2 * pi * step * k / count for k in range(count)]
    return [(cos(a), sin(a)) for a in angles]


def box(left: float, top: float, right: float, bottom: float) -> list[Corner]:
    return [(left, top), (right, top), (right, bottom), (left, bottom)]


def in_flower(x: float, y: float) -> bool:
    petals = [(0.6 * cos(a), 0.6 * sin(a)) for a in (-pi / 2 + 2 * pi * k / 5 for k in range(5))]
    return hypot(x, y) < 0.45 or any(hypot(x - u, y - v) < 0.38 for u, v in petals)


def in_heart(x: float, y: float) -> bool:
    d = sqrt(0.5)
    lobes = [(d / 2, -d / 2), (-d / 2, -d / 2)]
    diamond = [(0, -d), (d, 0), (0, d), (-d, 0)]
    return in_polygon(diamond, x, y) or any(hypot(x - u, y - v) < 0.5 for u, v in lobes)


def in_bar(x: float, y: float) -> bool:
    ends = hypot(x - 0.68, y) < 0.3 or hypot(x + 0.68, y) < 0.3
    return ends or in_polygon(box(-0.68, -0.3, 0.68, 0.3), x, y)


def in_arrow(x: float, y: float) -> bool:
    head = in_polygon([(0.95, 0), (0.1, 0.85), (0.1, -0.85)], x, y)
    return head or in_polygon(box(-0.95, -0.28, 0.15, 0.28), x, y)


INSIDE: dict[str, Callable[[float, float], bool]] = {
    "circle": lambda x, y: hypot(x, y) < 1,
    "square": lambda x, y: in_polygon(box(-0.7, -0.7, 0.7, 0.7), x, y),
    "triangle": lambda x, y: in_polygon(regular(3), x, y),
    "star": lambda x, y: in_polygon(regular(5, 2), x, y),
    "ring": lambda x, y: 0.53 < hypot(x, y) < 0.97,
    "cross": lambda x, y: (
        in_polygon(box(-0.94, -0.3, 0.94, 0.3), x, y)
        or in_polygon(box(-0.3, -0.94, 0.3, 0.94), x, y)
    ),
    "hexagon": lambda x, y: in_polygon(regular(6, start=0), x, y),
    "heart": in_heart,
    "crescent": lambda x, y: hypot(x, y) < 1 and hypot(x - 0.5, y) > 0.8,
    "bar": in_bar,
    "flower": in_flower,
    "arrow": in_arrow,
}


def test_every_shape_has_an_oracle() -> None:
    assert set(INSIDE) == set(SHAPES)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_sign_agrees_with_corners_and_arcs(shape: str) -> None:
    points = np.random.default_rng(0).uniform(-1.1, 1.1, (2500, 2))
    distance = signed_distance(shape, points[:, 0], points[:, 1])
    truth = np.array([INSIDE[shape](x, y) for x, y in points])
    clear = abs(distance) > 1e-9
    assert clear.sum() > 2490
    np.testing.assert_array_equal((distance < 0)[clear], truth[clear])
    assert 0.05 < truth.mean() < 0.7


@pytest.mark.parametrize("shape", SHAPES)
def test_a_shape_fits_the_unit_disc_and_fills_it(shape: str) -> None:
    y, x = np.mgrid[-1.2:1.2:241j, -1.2:1.2:241j]
    reach = np.hypot(x, y)[signed_distance(shape, x, y) <= 0]
    assert 0.9 < reach.max() <= 1 + 1e-9


@pytest.mark.parametrize("shape", SHAPES)
def test_the_size_is_at_most_the_distance_to_the_outline(shape: str) -> None:
    # Moving by d changes the value by at most d: no edge is smoothed over more than it should.
    rng = np.random.default_rng(1)
    start, step = rng.uniform(-1, 1, (2, 4000)), rng.normal(0, 0.05, (2, 4000))
    change = signed_distance(shape, *(start + step)) - signed_distance(shape, *start)
    assert (abs(change) <= np.hypot(*step) + 1e-9).all()


def test_oracle_of_the_star_has_five_tips() -> None:
    angles = np.linspace(0, 2 * pi, 720, endpoint=False)
    rim = [INSIDE["star"](0.7 * cos(a), 0.7 * sin(a)) for a in angles]
    assert sum(b and not a for a, b in zip(rim, rim[1:] + rim[:1], strict=True)) == 5
    assert INSIDE["star"](*(0.9 * cos(atan2(-1, 0)), 0.9 * sin(atan2(-1, 0))))
