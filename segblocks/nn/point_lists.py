"""Point lists: which feature cells a region covers, and with how many pixels."""

from __future__ import annotations

from typing import NamedTuple

import torch
from einops import rearrange
from torch import Tensor


class PointLists(NamedTuple):
    """For each row (a query), the cells that its mask covers, without repeats.

    Args:
        indices: (E,) int64, cells in (t, y, x) order of the feature grid, row after row.
        offsets: (R + 1,) int64, row r owns ``indices[offsets[r]:offsets[r + 1]]``.
        counts: (E,) int64, how many pixels of the row fall into the cell.
    """

    indices: Tensor
    offsets: Tensor
    counts: Tensor

    @property
    def rows(self) -> Tensor:
        """(E,) int64, the row that each entry belongs to."""
        lengths = self.offsets.diff()
        return torch.repeat_interleave(
            torch.arange(len(lengths), device=lengths.device), lengths, output_size=len(self.counts)
        )


def concatenate_lists(parts: list[PointLists]) -> PointLists:
    """Join lists row-wise: the rows of the first, then those of the second, and so on."""
    starts, total = [], 0
    for part in parts:
        starts.append(part.offsets[:-1] + total)
        total += len(part.indices)
    end = parts[0].offsets.new_full((1,), total)
    return PointLists(
        torch.cat([part.indices for part in parts]),
        torch.cat([*starts, end]),
        torch.cat([part.counts for part in parts]),
    )


def grid_lists(free: Tensor, stride: int, grid: tuple[int, int]) -> PointLists:
    """Divide a region by a grid, and list the feature cells of each part.

    Args:
        free: (T, H, W) bool, H and W multiples of ``stride``; the region.
        stride: pixels along the side of a feature cell.
        grid: rows and columns that the frame is divided into; the parts of a grid cell on all
            frames make one row.

    Returns:
        Lists of ``grid[0] * grid[1]`` rows, row-major.

    Example:
        >>> lists = grid_lists(torch.ones(1, 8, 8, dtype=torch.bool), 4, (2, 1))
        >>> lists.indices.tolist(), lists.counts.tolist()
        ([0, 1, 2, 3], [16, 16, 16, 16])
    """
    _, height, width = free.shape
    parts = []
    for row in range(grid[0]):
        for column in range(grid[1]):
            part = torch.zeros_like(free)
            ys = slice(row * height // grid[0], (row + 1) * height // grid[0])
            xs = slice(column * width // grid[1], (column + 1) * width // grid[1])
            part[:, ys, xs] = free[:, ys, xs]
            pixels = "t (h a) (w b) -> (t h w) (a b)"
            counts = rearrange(part, pixels, a=stride, b=stride).sum(dim=-1)
            cells = counts.nonzero()[:, 0]
            parts.append(_one_list(cells, counts[cells]))
    return concatenate_lists(parts)


def chunk_lists(mask: Tensor, stride: int, num_chunks: int) -> PointLists:
    """Divide a mask into chunks of equal size, and list the feature cells of each.

    The pixels of the mask, in the order (t, y, x), are cut into ``num_chunks`` runs of equal
    length, of which the first take the remainder (official TarViS code; the paper says "spatially
    dividing"). A mask with fewer pixels than chunks is repeated until there are enough.

    Args:
        mask: (T, H, W) bool with at least one pixel, H and W multiples of ``stride``.
        stride: pixels along the side of a feature cell.
        num_chunks: queries of the object.

    Returns:
        Lists of ``num_chunks`` rows.

    Example:
        >>> row = torch.tensor([1, 1, 1, 0, 1, 0, 0, 0], dtype=torch.bool)
        >>> lists = chunk_lists(row.expand(1, 4, 8), 4, 2)
        >>> lists.indices.tolist(), lists.counts.tolist(), lists.offsets.tolist()
        ([0, 1, 0, 1], [6, 2, 6, 2], [0, 2, 4])
    """
    _, height, width = mask.shape
    t, y, x = mask.nonzero(as_tuple=True)
    num_cells = mask.numel() // stride**2
    cell = (t * (height // stride) + y // stride) * (width // stride) + x // stride
    if len(cell) < num_chunks:
        cell = cell.repeat(-(-num_chunks // len(cell)))
    chunk = _equal_runs(len(cell), num_chunks, mask.device)
    found, counts = torch.unique(chunk * num_cells + cell, return_counts=True)
    lengths = torch.bincount(found // num_cells, minlength=num_chunks)
    return PointLists(found % num_cells, _offsets(lengths), counts)


def _equal_runs(length: int, num_runs: int, device: torch.device) -> Tensor:
    """The run that each of ``length`` positions belongs to; the first runs take the remainder."""
    size, remainder = divmod(length, num_runs)
    position = torch.arange(length, device=device)
    in_longer = remainder * (size + 1)
    return torch.where(
        position < in_longer,
        position // (size + 1),
        remainder + (position - in_longer) // max(size, 1),
    )


def _one_list(indices: Tensor, counts: Tensor) -> PointLists:
    return PointLists(indices, _offsets(indices.new_tensor([len(indices)])), counts)


def _offsets(lengths: Tensor) -> Tensor:
    return torch.cat((lengths.new_zeros(1), lengths.cumsum(0)))


def subsample(lists: PointLists, limit: int, generator: torch.Generator | None) -> PointLists:
    """Keep at most ``limit`` pixels a row, drawn without replacement.

    TarViS section 3.3 (``p_max``): 2048 pixels in training, 16384 in the official inference.

    Args:
        lists: of pixels, by cell and count.
        limit: pixels a row keeps.
        generator: of the draw, on the CPU; None takes the global one.

    Returns:
        Lists whose counts sum to at most ``limit`` in each row.
    """
    rows = lists.rows
    kept = lists.counts.clone()
    totals = torch.zeros_like(lists.offsets[:-1]).index_add_(0, rows, lists.counts)
    for row in (totals > limit).nonzero().flatten().tolist():
        here = slice(int(lists.offsets[row]), int(lists.offsets[row + 1]))
        pixels = torch.repeat_interleave(
            torch.arange(here.start, here.stop, device=rows.device), lists.counts[here]
        )
        drawn = torch.randperm(len(pixels), generator=generator)[:limit].to(rows.device)
        kept[here] = torch.bincount(pixels[drawn] - here.start, minlength=here.stop - here.start)
    used = kept > 0
    lengths = torch.zeros_like(totals).index_add_(0, rows, used.long())
    return PointLists(lists.indices[used], _offsets(lengths), kept[used])
