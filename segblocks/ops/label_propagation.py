"""Labels of a frame's cells by those of the most similar cells of other frames."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from segblocks_kernels._check import check_float, check_same_device, check_same_dtype

# Cells of a side that are compared at once: few cells lie beyond the reach of all others there.
_TILE = 16


class LabelledCells(NamedTuple):
    """A frame whose labels are known.

    Args:
        cells: (C, h, w), floating point, see :func:`describe_cells`.
        labels: (L, h, w), the share of each label in a cell, of the dtype of ``cells``.
        reach: how many cells away, up or sideways, a label may have come from; None from anywhere.
    """

    cells: Tensor
    labels: Tensor
    reach: int | None = None


def describe_cells(levels: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
    """Put feature maps of several strides together, each of unit length in each cell.

    Args:
        levels: (N, C_l, h_l, w_l) of the same frames, floating point; finer ones are averaged over
            a cell, coarser ones interpolated.
        size: (h, w), cells of a frame.

    Returns:
        (N, sum of C_l, h, w); the product of two cells is the mean cosine over the levels.

    Raises:
        ValueError: no level, one that is not floating point or not of four dimensions, or levels
            of different numbers of frames.

    Example:
        >>> cells = describe_cells([torch.rand(1, 8, 16, 16), torch.rand(1, 4, 4, 4)], (8, 8))
        >>> cells.shape, bool(cells.norm(dim=1).allclose(torch.ones(8, 8)))
        (torch.Size([1, 12, 8, 8]), True)
    """
    check_float("describe_cells", **{f"levels[{n}]": level for n, level in enumerate(levels)})
    if any(level.dim() != 4 for level in levels) or len({len(level) for level in levels}) != 1:
        raise ValueError(
            "describe_cells: levels must be at least one map (N, C, h, w), all of N frames, got "
            f"{[tuple(level.shape) for level in levels]}"
        )
    parts = [F.normalize(_resize(level, size), dim=1) for level in levels]
    return torch.cat(parts, dim=1) / len(parts) ** 0.5


def propagate_labels(
    cells: Tensor,
    memory: Sequence[LabelledCells],
    *,
    neighbours: int = 5,
    temperature: float = 0.03,
) -> Tensor:
    """Give each cell the labels of the cells of known frames that look most like it.

    Soft k-nearest-neighbour propagation, as self-supervised video features are measured with it
    (Jabri et al., NeurIPS 2020). The result is the mean of the ``neighbours`` cells whose product
    with the cell is largest, weighted by a softmax of these products.

    Args:
        cells: (C, h, w), floating point, of the frame that is asked for.
        memory: what is known, at least one frame of the same size.
        neighbours: as many have a say; at least 1. Default: that of DINO's evaluation.
        temperature: of the softmax, above 0. Ours, for cells of unit length.

    Returns:
        (L, h, w), of the same dtype; shares that sum to 1 in the memory do so here.

    Raises:
        ValueError: no memory, sizes, dtypes or devices that do not fit, a negative reach,
            ``neighbours`` below 1 or a ``temperature`` that is not above 0.

    Example:
        >>> cells = torch.eye(4).reshape(4, 2, 2)
        >>> known = LabelledCells(cells, torch.tensor([[[1.0, 0.0], [0.0, 1.0]]]))
        >>> propagate_labels(cells.flip(2), [known], neighbours=1)
        tensor([[[0., 1.],
                 [1., 0.]]])
    """
    _check(cells, memory, neighbours=neighbours, temperature=temperature)
    with torch.autocast(cells.device.type, enabled=False):
        return _propagate(cells, memory, neighbours, temperature)


def _propagate(
    cells: Tensor, memory: Sequence[LabelledCells], neighbours: int, temperature: float
) -> Tensor:
    height, width = cells.shape[1:]
    found = memory[0].labels.new_empty(memory[0].labels.shape)
    for top in range(0, height, _TILE):
        for left in range(0, width, _TILE):
            tile = (slice(top, top + _TILE), slice(left, left + _TILE))
            asked = cells[:, *tile]
            nearby = [_nearby(asked, (top, left), known) for known in memory]
            similar = torch.cat([products for products, _ in nearby], dim=1)
            labels = torch.cat([labels for _, labels in nearby])
            best = similar.topk(min(neighbours, similar.shape[1]), dim=1)
            weights = (best.values / temperature).softmax(dim=1)
            voted = torch.einsum("nk,nkl->ln", weights, labels[best.indices])
            found[:, *tile] = voted.unflatten(1, asked.shape[1:])
    return found


def _resize(level: Tensor, size: tuple[int, int]) -> Tensor:
    if level.shape[-2] > size[0] or level.shape[-1] > size[1]:
        return F.adaptive_avg_pool2d(level, size)
    return F.interpolate(level, size=size, mode="bilinear", align_corners=False)


def _nearby(asked: Tensor, corner: tuple[int, int], known: LabelledCells) -> tuple[Tensor, Tensor]:
    """Compare a tile with what a known frame has within its reach.

    Returns:
        Products (n, m), -inf where a cell is out of reach of another, and labels (m, L).
    """
    reach = max(known.cells.shape[1:]) if known.reach is None else known.reach
    windows: list[slice] = []
    far: list[Tensor] = []
    for start, length, limit in zip(corner, asked.shape[1:], known.cells.shape[1:], strict=True):
        window = slice(max(0, start - reach), min(limit, start + length + reach))
        there = torch.arange(window.start, window.stop, device=asked.device)
        here = torch.arange(start, start + length, device=asked.device)
        windows.append(window)
        far.append((here[:, None] - there).abs() > reach)
    products = asked.flatten(1).T @ known.cells[:, *windows].flatten(1)
    beyond = (far[0][:, None, :, None] | far[1][None, :, None]).flatten(2).flatten(0, 1)
    return products.masked_fill(beyond, -torch.inf), known.labels[:, *windows].flatten(1).T


def _check(
    cells: Tensor, memory: Sequence[LabelledCells], *, neighbours: int, temperature: float
) -> None:
    name = "propagate_labels"
    if not memory:
        raise ValueError(f"{name}: memory must hold at least one frame, got none")
    tensors = {"cells": cells}
    for n, known in enumerate(memory):
        tensors |= {f"memory[{n}].cells": known.cells, f"memory[{n}].labels": known.labels}
        if known.reach is not None and known.reach < 0:
            raise ValueError(f"{name}: memory[{n}].reach must be None or >= 0, got {known.reach}")
    check_float(name, **tensors)
    check_same_dtype(name, **tensors)
    check_same_device(name, **tensors)
    labels = (memory[0].labels.shape[0], *cells.shape[1:])
    if cells.dim() != 3 or any(
        known.cells.shape != cells.shape or known.labels.shape != labels for known in memory
    ):
        shapes = {key: tuple(tensor.shape) for key, tensor in tensors.items()}
        raise ValueError(
            f"{name}: cells (C, h, w) and the memory's cells (C, h, w) and labels (L, h, w) must "
            f"have the same sizes, got {shapes}"
        )
    if neighbours < 1:
        raise ValueError(f"{name}: neighbours must be at least 1, got {neighbours}")
    if not temperature > 0:
        raise ValueError(f"{name}: temperature must be above 0, got {temperature}")
