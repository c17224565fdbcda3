"""The cells of several levels: which tokens attend to each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

OP = "space_time_attention"


class Level(NamedTuple):
    """A level whose tokens take part: its first token, its size, and the side of its cells."""

    start: int
    height: int
    width: int
    cell: int

    @property
    def grid(self) -> tuple[int, int]:
        """Cells down and across; the last ones may hang over the border."""
        return -(-self.height // self.cell), -(-self.width // self.cell)

    @property
    def ragged(self) -> bool:
        """Whether some cell hangs over the border."""
        return self.height % self.cell != 0 or self.width % self.cell != 0


class Cells(NamedTuple):
    """The levels that take part, and the number of tokens of all levels together."""

    levels: tuple[Level, ...]
    num_tokens: int

    @property
    def grid(self) -> tuple[int, int]:
        return self.levels[0].grid

    @property
    def num_cells(self) -> int:
        rows, columns = self.grid
        return rows * columns

    @property
    def ragged(self) -> bool:
        return any(level.ragged for level in self.levels)

    @property
    def slots_per_frame(self) -> int:
        """Tokens of a full cell in one frame."""
        return sum(level.cell**2 for level in self.levels)

    @property
    def complete(self) -> bool:
        """Whether every token is in some cell."""
        return sum(level.height * level.width for level in self.levels) == self.num_tokens


def make_cells(spatial_shapes: Sequence[int], cell_sizes: Sequence[int]) -> Cells:
    """Lay out flat shapes (h0, w0, h1, w1, ...); a cell size of 0 keeps its level out.

    A level without pixels has no token that could take part, whatever its cell size.
    """
    levels = []
    start = 0
    for height, width, cell in zip(
        spatial_shapes[::2], spatial_shapes[1::2], cell_sizes, strict=True
    ):
        if cell and height and width:
            levels.append(Level(start, height, width, cell))
        start += height * width
    return Cells(tuple(levels), start)


def check_same_grid(
    spatial_shapes: Sequence[tuple[int, int]], cell_sizes: Sequence[int | None]
) -> None:
    """Raise unless all levels that take part have the same number of cells down and across.

    Raises:
        ValueError: the grids differ.
    """
    grids = {
        index: Level(0, height, width, cell).grid
        for index, ((height, width), cell) in enumerate(
            zip(spatial_shapes, cell_sizes, strict=True)
        )
        if cell is not None and height and width
    }
    if len(set(grids.values())) > 1:
        got = ", ".join(f"{rows}x{columns} at level {i}" for i, (rows, columns) in grids.items())
        raise ValueError(
            f"{OP}: cell_sizes must cut every level of spatial_shapes into the same grid of "
            f"cells, got {got}"
        )
