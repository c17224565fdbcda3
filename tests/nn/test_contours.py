from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from segblocks.nn.contours import drop_specks, mark_contours, trace_contour
from tests.nn.outlines import NAMES, draw

BITS = st.integers(0, 2**48 - 1)


def mask_of(bits: int, size: tuple[int, int] = (6, 8)) -> np.ndarray:
    return np.array([bits >> i & 1 for i in range(math.prod(size))], dtype=bool).reshape(size)


def pieces_by_hand(mask: np.ndarray) -> list[tuple[float, float, float]]:
    """Middle and length of each piece, square by square."""
    padded = np.pad(mask, 1)
    pieces = []
    for y in range(mask.shape[0] + 1):
        for x in range(mask.shape[1] + 1):
            set_corners = [(dx, dy) for dy in (0, 1) for dx in (0, 1) if padded[y + dy, x + dx]]
            missing = [(dx, dy) for dy in (0, 1) for dx in (0, 1) if not padded[y + dy, x + dx]]
            if len(set_corners) in (1, 3):
                (corner,) = set_corners if len(set_corners) == 1 else missing
                cut = [corner]
            elif set_corners in ([(0, 0), (1, 1)], [(1, 0), (0, 1)]):
                cut = set_corners
            else:
                cut = []
                if len(set_corners) == 2:
                    pieces.append((float(x), float(y), 1.0))
            for dx, dy in cut:
                pieces.append((x + (dx - 0.5) / 2, y + (dy - 0.5) / 2, math.sqrt(0.5)))
    return pieces


@settings(max_examples=50, deadline=None)
@given(BITS)
def test_pieces_are_those_of_each_square(bits: int) -> None:
    mask = mask_of(bits)
    found = mark_contours(torch.from_numpy(np.stack((mask, ~mask))))
    for n, each in enumerate((mask, ~mask)):
        own = (found.owners == n) & (found.weights > 0)
        rows = torch.cat((found.points[own], found.weights[own, None]), dim=1).tolist()
        assert sorted(map(tuple, rows)) == sorted(pieces_by_hand(each))


@settings(max_examples=50, deadline=None)
@given(BITS)
def test_specks_are_the_small_parts(bits: int) -> None:
    mask = mask_of(bits)
    parts, count = ndimage.label(mask)
    large = [parts == n for n in range(1, count + 1) if (parts == n).sum() >= 4]
    wanted = np.any(large, axis=0) if large else mask
    assert drop_specks(torch.from_numpy(mask)[None])[0].numpy().tolist() == wanted.tolist()


@settings(max_examples=30, deadline=None)
@given(BITS, st.integers(1, 60))
def test_traced_points_lie_on_the_marked_lines(bits: int, num_points: int) -> None:
    pytest.importorskip("skimage")
    mask = mask_of(bits)
    points = trace_contour(mask, num_points)
    assert len(points) == (num_points if mask.any() else 0)
    marked = mark_contours(drop_specks(torch.from_numpy(mask)[None]))
    middles = marked.points[marked.weights > 0]
    for point in torch.from_numpy(points):
        assert float((middles - point).norm(dim=1).min()) <= 0.5 + 1e-9


@pytest.mark.parametrize("name", NAMES)
def test_traced_points_are_evenly_spaced_from_the_top(name: str) -> None:
    pytest.importorskip("skimage")
    mask = draw(name)
    points = trace_contour(mask.numpy(), 200)
    gaps = np.hypot(*(np.roll(points, -1, axis=0) - points).T)
    length = float(mark_contours(mask[None]).weights.sum())
    assert gaps.max() <= length / 200 + 1e-9
    assert gaps.min() > 0.7 * length / 200  # a chord, where the line turns
    top = points[:, 1].min()
    assert points[0, 1] == top
    assert points[0, 0] == points[points[:, 1] == top, 0].min()


def test_parts_share_the_points_by_their_length() -> None:
    pytest.importorskip("skimage")
    mask = np.zeros((40, 60), bool)
    mask[2:12, 2:12] = mask[20:23, 30:33] = mask[30, 50] = True
    points = trace_contour(mask, 100)
    left = int((points[:, 0] < 20).sum())
    perimeters = np.array([4 * 9 + 4 * math.sqrt(0.5), 4 * 2 + 4 * math.sqrt(0.5)])
    assert left == round(100 * perimeters[0] / perimeters.sum())
    assert not (points[:, 0] > 40).any()  # a speck


def test_holes_count_or_not() -> None:
    pytest.importorskip("skimage")
    mask = np.zeros((40, 40), bool)
    mask[5:35, 5:35] = True
    filled = trace_contour(mask, 100)
    mask[15:25, 15:25] = False
    inside = abs(trace_contour(mask, 100) - 20).max(axis=1) < 6
    assert 0 < inside.sum() < 50
    assert trace_contour(mask, 100, holes=False).tolist() == filled.tolist()


def test_tracing_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError(f"No module named {name!r}", name="skimage")

    monkeypatch.setattr("importlib.import_module", missing)
    with pytest.raises(ImportError, match=r"segblocks\[contours\]"):
        trace_contour(np.ones((4, 4), bool), 8)
