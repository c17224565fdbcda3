"""The gradient of the value in a fixed order: samples sorted by cell, then one sum per pixel."""

# Triton's launch syntax and static_range are beyond the type checker.
# pyright: reportCallIssue=false, reportGeneralTypeIssues=false

from __future__ import annotations

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from .triton_common import Launch, on_device, plan, sample_position


def _sort_by_cell(
    locations: Tensor, spatial_shapes: Sequence[tuple[int, int]], dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Samples in the order of the cell they fall in.

    A level of h x w pixels has (h+1) x (w+1) cells between pixel centres, the outer ones open.

    Returns:
        The index of each sample in (B, Q, M, L, P), sorted; and the place in that order where
        each cell of (B, M, all levels) begins, with the end of the last.
    """
    batch, queries, heads, levels, points, _ = locations.shape
    cells = [(h + 1) * (w + 1) for h, w in spatial_shapes]
    per_head = sum(cells)
    total = batch * heads * per_head
    device = locations.device
    heads_first = torch.arange(batch * heads, device=device).view(batch, 1, heads, 1)
    keys = torch.empty((batch, queries, heads, levels, points), dtype=torch.int64, device=device)
    for level, (height, width) in enumerate(spatial_shapes):
        left, top = (
            torch.floor(locations[:, :, :, level, :, axis].to(dtype) * size - 0.5)
            for axis, size in enumerate((width, height))
        )
        inside = (left >= -1) & (left < width) & (top >= -1) & (top < height)
        cell = (torch.where(inside, top, 0) + 1).long() * (width + 1)
        cell += (torch.where(inside, left, 0) + 1).long() + sum(cells[:level])
        keys[:, :, :, level] = torch.where(inside, heads_first * per_head + cell, total)
    ordered, order = torch.sort(keys.flatten(), stable=True)
    begins = torch.searchsorted(ordered, torch.arange(total + 1, device=device))
    return order, begins


@triton.jit(do_not_specialize=["height", "width", "start", "cell_start", "cells", "N"])
def _sum_by_pixel_kernel(
    p_grad_out,
    p_locations,
    p_weights,
    p_order,
    p_begins,
    p_grad_value,
    height,
    width,
    start,
    cell_start,
    cells,
    N,
    M,
    D: tl.constexpr,
    LP: tl.constexpr,
    BE: tl.constexpr,
    BD: tl.constexpr,
    ACC: tl.constexpr,
):
    i_pixel = tl.program_id(0) % (height * width)
    i_head = tl.program_id(0) // (height * width)
    i_b = (i_head // M).to(tl.int64)
    i_m = i_head % M
    row = i_pixel // width
    column = i_pixel % width
    o_d = tl.arange(0, BD)
    acc = tl.zeros([BD], ACC)
    for side in tl.static_range(2):
        # The cells left and right of the pixel are neighbours: one range of samples.
        cell = i_head.to(tl.int64) * cells + cell_start + (row + side) * (width + 1) + column
        first = tl.load(p_begins + cell)
        last = tl.load(p_begins + cell + 2)
        for i in range(first, last, BE):
            o_entry = i + tl.arange(0, BE)
            m_entry = o_entry < last
            o_sample = tl.load(p_order + o_entry, mask=m_entry, other=0)
            x, y = sample_position(p_locations, o_sample, m_entry, height, width, ACC)
            b_weight = tl.load(p_weights + o_sample, mask=m_entry, other=0.0).to(ACC)
            # The hat function: continuous, so a floor that rounds otherwise here does no harm.
            b_weight *= tl.maximum(1 - tl.abs(x - column), 0.0)
            b_weight *= tl.maximum(1 - tl.abs(y - row), 0.0)
            o_row = o_sample // LP * D
            m_row = m_entry[:, None] & (o_d < D)[None, :]
            b_grad = tl.load(p_grad_out + o_row[:, None] + o_d[None, :], mask=m_row, other=0.0)
            acc += tl.sum(b_grad.to(ACC) * b_weight[:, None], axis=0)
    p_row = p_grad_value + ((i_b * N + start + i_pixel) * M + i_m) * D
    tl.store(p_row + o_d, acc.to(p_grad_value.dtype.element_ty), mask=o_d < D)


def grad_value_sorted(
    grad_out: Tensor,
    value: Tensor,
    spatial_shapes: Sequence[tuple[int, int]],
    locations: Tensor,
    weights: Tensor,
) -> Tensor:
    """The gradient of ``value``, summed in the same order on every run.

    Args:
        grad_out: contiguous (B, Q, M*D).
        value: only its shape and type are used.
        spatial_shapes, locations, weights: as in ``ms_deform_attn``, contiguous.
    """
    launch: Launch = plan(value, locations)
    if value.numel() == 0 or launch.queries == 0:
        return torch.zeros_like(value, memory_format=torch.contiguous_format)
    grad_value = value.new_empty(value.shape)
    order, begins = _sort_by_cell(locations, spatial_shapes, launch.accumulator)
    cells = sum((h + 1) * (w + 1) for h, w in spatial_shapes)
    start = cell_start = 0
    for height, width in spatial_shapes:
        grid = (launch.batch * launch.heads * height * width,)
        if grid[0] > 0:
            with on_device(value):
                _sum_by_pixel_kernel[grid](
                    grad_out,
                    locations,
                    weights,
                    order,
                    begins,
                    grad_value,
                    height,
                    width,
                    start,
                    cell_start,
                    cells,
                    value.shape[1],
                    launch.heads,
                    D=launch.dim,
                    LP=launch.levels * launch.points,
                    BE=16,
                    BD=launch.block_d,
                    ACC=launch.triton_accumulator,
                    num_warps=1,
                )
        start += height * width
        cell_start += (height + 1) * (width + 1)
    return grad_value
