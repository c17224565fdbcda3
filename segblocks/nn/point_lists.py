"""Point lists: which feature cells a region covers, and with how many pixels.

Regions are counted into a dense table first, rows by cells, whose size follows from shapes alone:
only :func:`list_cells` waits for the device, once, for all rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
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


def list_cells(
    counts: Tensor, limit: int | None = None, generator: torch.Generator | None = None
) -> PointLists:
    """List the cells of each row that hold pixels; the host waits once, for how many they are.

    With a limit, each row keeps at most so many pixels, drawn without replacement (TarViS section
    3.3, ``p_max``: 2048 in training, 16384 in the official inference). Cells that lose all their
    pixels stay listed, with a count of zero and hence a bias of -inf: the host need not wait for
    how many are left.

    Sizes in a program that ``torch.export`` makes must not depend on values. So each row lists all
    cells there, empty ones with a count of zero, and keeps all its pixels.

    Args:
        counts: (R, N) integers, the pixels of each row in each cell.
        limit: pixels that a row keeps; None for all.
        generator: of the draw, on the CPU; None takes the global one.

    Returns:
        Lists of R rows.

    Example:
        >>> lists = list_cells(torch.tensor([[0, 3, 1], [2, 0, 0]]))
        >>> lists.indices.tolist(), lists.counts.tolist(), lists.offsets.tolist()
        ([1, 2, 0], [3, 1, 2], [0, 2, 3])
    """
    if torch.compiler.is_exporting():
        return _list_all(counts)
    lengths = (counts > 0).sum(dim=1)
    num_cells, num_pixels = torch.stack((lengths, counts.sum(dim=1))).tolist()
    rows, indices = torch.nonzero_static(counts, size=sum(num_cells)).unbind(1)
    listed = counts[rows, indices].long()
    if limit is not None:
        listed = _subsample(listed, num_pixels, limit, generator)
    return PointLists(indices, F.pad(lengths.cumsum(0), (1, 0)), listed)


def _list_all(counts: Tensor) -> PointLists:
    num_rows, num_cells = counts.shape
    indices = torch.arange(num_cells, device=counts.device).repeat(num_rows)
    offsets = torch.arange(num_rows + 1, device=counts.device) * num_cells
    return PointLists(indices, offsets, counts.flatten().long())


def _subsample(
    counts: Tensor, num_pixels: Sequence[int], limit: int, generator: torch.Generator | None
) -> Tensor:
    """The counts (E,) of what is left when each row keeps at most ``limit`` of its pixels."""
    kept, start = [], 0
    for number in num_pixels:
        pixels = torch.arange(number)
        if number > limit:
            pixels = torch.randperm(number, generator=generator)[:limit]
        kept.append(start + pixels)
        start += number
    cells = torch.repeat_interleave(counts, output_size=start)
    cells = cells[torch.cat(kept).to(cells.device)]
    return torch.zeros_like(counts).index_add_(0, cells, torch.ones_like(cells))


def grid_counts(free: Tensor, stride: int, grid: tuple[int, int]) -> Tensor:
    """Divide a region by a grid, and count the pixels of each part in each feature cell.

    Args:
        free: (T, H, W) bool, H and W multiples of ``stride``; the region.
        stride: pixels along the side of a feature cell.
        grid: rows and columns that the frame is divided into; the parts of a grid cell on all
            frames make one row.

    Returns:
        (grid[0] * grid[1], N) int32, rows row-major, cells in (t, y, x) order.

    Example:
        >>> grid_counts(torch.ones(1, 8, 8, dtype=torch.bool), 4, (2, 1)).tolist()
        [[16, 16, 0, 0], [0, 0, 16, 16]]
    """
    frames, height, width = free.shape
    size = (*grid, frames, height // stride, width // stride)
    counts = torch.zeros(size, dtype=torch.int32, device=free.device)
    for row, (top, bottom) in enumerate(_parts(height, grid[0])):
        for column, (left, right) in enumerate(_parts(width, grid[1])):
            # Whole cells around the part, which may begin and end inside of one.
            y, before_y, after_y = _cells_around(top, bottom, stride)
            x, before_x, after_x = _cells_around(left, right, stride)
            part = F.pad(free[:, top:bottom, left:right], (before_x, after_x, before_y, after_y))
            counts[row, column, :, y, x] = _count(part, stride)
    return counts.flatten(2).flatten(0, 1)


def _parts(size: int, number: int) -> list[tuple[int, int]]:
    return list(pairwise(part * size // number for part in range(number + 1)))


def _cells_around(begin: int, end: int, stride: int) -> tuple[slice, int, int]:
    """The cells that [begin, end) touches, and how far they reach beyond it on both sides."""
    cells = slice(begin // stride, -(-end // stride))
    return cells, begin - cells.start * stride, cells.stop * stride - end


def _count(region: Tensor, stride: int) -> Tensor:
    pixels = rearrange(region, "... (h a) (w b) -> ... h w a b", a=stride, b=stride)
    return pixels.sum(dim=(-1, -2), dtype=torch.int32)


def chunk_counts(masks: Tensor, stride: int, num_chunks: int) -> Tensor:
    """Divide each mask into chunks of equal size, and count their pixels in each feature cell.

    The pixels of a mask, in the order (t, y, x), are cut into ``num_chunks`` runs of equal
    length, of which the first take the remainder (official TarViS code; the paper says "spatially
    dividing"). A mask with fewer pixels than chunks is repeated until there are enough.

    Args:
        masks: (O, T, H, W) bool, H and W multiples of ``stride``, of less than 2^31 pixels each;
            the chunks of a mask without any are empty.
        stride: pixels along the side of a feature cell.
        num_chunks: queries of an object.

    Returns:
        (O * num_chunks, N) int32, the chunks of the first mask first, cells in (t, y, x) order.

    Example:
        >>> row = torch.tensor([1, 1, 1, 0, 1, 0, 0, 0], dtype=torch.bool)
        >>> chunk_counts(row.expand(1, 1, 4, 8), 4, 2).tolist()
        [[6, 2], [6, 2]]
    """
    # A strip is a row of pixels of one cell: its pixels follow each other in the order of the mask.
    strips = rearrange(masks, "o t y (w b) -> o (t y w) b", b=stride).sum(-1, dtype=torch.int32)
    begins = strips.cumsum(dim=1, dtype=torch.int32) - strips
    total = strips.sum(dim=1, keepdim=True, dtype=torch.int32)
    divisor = total.clamp(min=1)
    length = total * ((num_chunks + divisor - 1) // divisor)
    _, frames, height, width = masks.shape
    split = (frames, height // stride, stride, width // stride)

    def per_cell(numbers: Tensor) -> Tensor:
        return numbers.unflatten(1, split).sum(3, dtype=torch.int32).flatten(1)

    cells = per_cell(strips)
    before = []
    for chunk in range(num_chunks + 1):
        # How often each cell comes among the first pixels of the mask and its repetitions.
        bound = length // num_chunks * chunk + (length % num_chunks).clamp(max=chunk)
        last_turn = (bound % divisor - begins).clamp_(min=0)
        torch.minimum(last_turn, strips, out=last_turn)
        before.append(per_cell(last_turn) + bound // divisor * cells)
    return torch.stack(before, dim=1).diff(dim=1).flatten(0, 1)
