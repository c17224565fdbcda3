"""Point lists: which feature cells a mask covers, and how often."""

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


def lists_from_counts(counts: Tensor) -> PointLists:
    """Turn a dense table of counts into lists.

    Args:
        counts: (R, N) integers, pixels of row r in cell n.

    Example:
        >>> lists_from_counts(torch.tensor([[0, 2, 1], [3, 0, 0]])).indices
        tensor([1, 2, 0])
    """
    rows, indices = counts.nonzero(as_tuple=True)
    lengths = (counts > 0).sum(dim=1)
    offsets = torch.cat((lengths.new_zeros(1), lengths.cumsum(0)))
    return PointLists(indices, offsets, counts[rows, indices])


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


def cell_counts(masks: Tensor, stride: int) -> Tensor:
    """Count the pixels of masks in the cells of a coarser grid.

    Args:
        masks: (R, T, H, W) bool, H and W multiples of ``stride``.
        stride: pixels along the side of a cell.

    Returns:
        (R, T * H / stride * W / stride) int64.

    Example:
        >>> cell_counts(torch.ones(1, 1, 4, 8, dtype=torch.bool), 4)
        tensor([[16, 16]])
    """
    pixels = "r t (h a) (w b) -> r (t h w) (a b)"
    return rearrange(masks, pixels, a=stride, b=stride).sum(dim=-1)


def chunk_counts(masks: Tensor, stride: int, num_chunks: int) -> Tensor:
    """Divide each mask into chunks of equal size, and count their pixels in cells.

    The pixels of a mask, in the order (t, y, x), are cut into ``num_chunks`` runs of equal
    length, of which the first take the remainder (official TarViS code; the paper says "spatially
    dividing"). A mask with fewer pixels than chunks is repeated until there are enough.

    Args:
        masks: (O, T, H, W) bool, none of them empty, H and W multiples of ``stride``.
        stride: pixels along the side of a cell.
        num_chunks: q, queries an object.

    Returns:
        (O * q, cells) int64, object-major.

    Example:
        >>> row = torch.tensor([1, 1, 1, 0, 1, 0, 0, 0], dtype=torch.bool)
        >>> chunk_counts(row.view(1, 1, 1, 8).expand(1, 1, 4, 8), 4, 2).tolist()
        [[6, 2], [6, 2]]
    """
    return torch.cat([_chunk_counts_of_one(mask, stride, num_chunks) for mask in masks])


def _chunk_counts_of_one(mask: Tensor, stride: int, num_chunks: int) -> Tensor:
    _, height, width = mask.shape
    t, y, x = mask.nonzero(as_tuple=True)
    num_cells = mask.numel() // stride**2
    cell = (t * (height // stride) + y // stride) * (width // stride) + x // stride
    if len(cell) < num_chunks:
        cell = cell.repeat(-(-num_chunks // len(cell)))
    size, remainder = divmod(len(cell), num_chunks)
    rank = torch.arange(len(cell), device=mask.device)
    in_longer = remainder * (size + 1)
    chunk = torch.where(
        rank < in_longer, rank // (size + 1), remainder + (rank - in_longer) // max(size, 1)
    )
    flat = torch.bincount(chunk * num_cells + cell, minlength=num_chunks * num_cells)
    return flat.view(num_chunks, num_cells)


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
    offsets = torch.cat((lengths.new_zeros(1), lengths.cumsum(0)))
    return PointLists(lists.indices[used], offsets, kept[used])
