"""Pixels and tokens."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from segblocks.viz import spread_over_pixels, token_at, token_center

STRIDES = st.lists(st.sampled_from([4, 8, 16, 32]), min_size=1, max_size=3)
GRIDS = st.tuples(st.integers(1, 3), st.integers(1, 3))


def shapes_of(grid: tuple[int, int], strides: list[int]) -> list[tuple[int, int]]:
    return [(32 * grid[0] // s, 32 * grid[1] // s) for s in strides]


@given(grid=GRIDS, strides=STRIDES, data=st.data())
def test_the_middle_of_a_token_is_in_it(
    grid: tuple[int, int], strides: list[int], data: st.DataObject
) -> None:
    shapes, size = shapes_of(grid, strides), (32 * grid[0], 32 * grid[1])
    counts = [h * w for h, w in shapes]
    token = data.draw(st.integers(0, sum(counts) - 1))
    level = next(i for i in range(len(counts)) if token < sum(counts[: i + 1]))
    assert token_at(token_center(token, size, shapes), size, shapes, level) == token


def test_a_token_covers_a_square_of_pixels() -> None:
    size, shapes = (32, 64), [(1, 2), (4, 8)]
    found = [[token_at((x, y), size, shapes, 1) for x in range(64)] for y in range(32)]
    expected = 2 + torch.arange(32).view(4, 8).repeat_interleave(8, 0).repeat_interleave(8, 1)
    assert found == expected.tolist()


@given(grid=GRIDS, strides=STRIDES)
def test_spreading_keeps_the_sum_and_covers_each_token_evenly(
    grid: tuple[int, int], strides: list[int]
) -> None:
    shapes, size = shapes_of(grid, strides), (32 * grid[0], 32 * grid[1])
    generator = torch.Generator().manual_seed(0)
    values = torch.rand(2, sum(h * w for h, w in shapes), generator=generator, dtype=torch.double)
    spread = spread_over_pixels(values, size, shapes)
    torch.testing.assert_close(spread.sum((-1, -2)), values.sum(-1))
    first = 0
    expected = torch.zeros(2, *size, dtype=torch.double)
    for (rows, columns), stride in zip(shapes, strides, strict=True):
        level = values[:, first : first + rows * columns].view(2, rows, columns)
        expected += level.repeat_interleave(stride, 1).repeat_interleave(stride, 2) / stride**2
        first += rows * columns
    torch.testing.assert_close(spread, expected)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: token_at((64, 3), (32, 64), [(1, 2)], 0), r"frame of 64x32, got \(64, 3\)"),
        (lambda: token_at((3, 3), (32, 64), [(1, 2)], 1), "level must be 0 to 0, got 1"),
        (lambda: token_center(2, (32, 64), [(1, 2)]), "token must be 0 to 1, got 2"),
        (lambda: spread_over_pixels(torch.zeros(3), (32, 64), [(1, 2)]), r"got \(3,\)"),
        (lambda: spread_over_pixels(torch.zeros(6), (32, 64), [(3, 2)]), "multiples of the"),
    ],
)
def test_wrong_inputs_raise(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
