"""The gradient of the value in a fixed order: samples sorted by cell, then one sum per pixel."""

# Triton's launch syntax and static_range are beyond the type checker.
# pyright: reportCallIssue=false, reportGeneralTypeIssues=false

from __future__ import annotations

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from .._device import on_device
from .triton_common import Launch, plan


def locate(locations: Tensor, spatial_shapes: Sequence[tuple[int, int]]) -> tuple[Tensor, Tensor]:
    """The pixel (column, row) above left of each sample, whole numbers, and the way from there."""
    pixels = torch.empty_like(locations)
    for level, (height, width) in enumerate(spatial_shapes):
        for axis, size in enumerate((width, height)):
            pixels[:, :, :, level, :, axis] = locations[:, :, :, level, :, axis] * size - 0.5
    corners = pixels.floor()
    return corners, pixels - corners


def _sort_by_cell(
    corners: Tensor, spatial_shapes: Sequence[tuple[int, int]]
) -> tuple[Tensor, Tensor]:
    """Samples in the order of the cell they fall in.

    A level of h x w pixels has (h+1) x (w+1) cells between pixel centres, the outer ones open.

    Returns:
        The index of each sample in (B, Q, M, L, P), sorted; and the place in that order where
        each cell of (B, M, all levels) begins, with the end of the last.
    """
    batch, queries, heads, levels, points, _ = corners.shape
    cells = [(h + 1) * (w + 1) for h, w in spatial_shapes]
    per_head = sum(cells)
    total = batch * heads * per_head
    device = corners.device
    heads_first = torch.arange(batch * heads, device=device).view(batch, 1, heads, 1)
    keys = torch.empty((batch, queries, heads, levels, points), dtype=torch.int64, device=device)
    for level, (height, width) in enumerate(spatial_shapes):
        left, top = corners[:, :, :, level].unbind(-1)
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
    p_fractions,
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
        middle = tl.load(p_begins + cell + 1)
        last = tl.load(p_begins + cell + 2)
        for i in range(first, last, BE):
            o_entry = i + tl.arange(0, BE)
            m_entry = o_entry < last
            o_sample = tl.load(p_order + o_entry, mask=m_entry, other=0)
            right_part = tl.load(p_fractions + 2 * o_sample, mask=m_entry, other=0.0)
            lower_part = tl.load(p_fractions + 2 * o_sample + 1, mask=m_entry, other=0.0)
            b_weight = tl.load(p_weights + o_sample, mask=m_entry, other=0.0).to(ACC)
            b_weight *= tl.where(o_entry < middle, right_part, 1 - right_part)
            b_weight *= lower_part if side == 0 else 1 - lower_part
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
    corners: Tensor,
    fractions: Tensor,
    weights: Tensor,
) -> Tensor:
    """The gradient of ``value``, summed in the same order on every run.

    Args:
        grad_out: contiguous (B, Q, M*D).
        value: only its shape and type are used.
        spatial_shapes: as in ``ms_deform_attn``.
        corners: pixel (column, row) above left of each sample, (B, Q, M, L, P, 2); any number
            outside the level, or NaN, leaves the sample out.
        fractions: the way (x, y) from there, in [0, 1], contiguous.
        weights: of the samples, contiguous (B, Q, M, L, P).
    """
    launch: Launch = plan(value, fractions)
    if value.numel() == 0 or launch.queries == 0:
        return torch.zeros_like(value, memory_format=torch.contiguous_format)
    grad_value = value.new_empty(value.shape)
    order, begins = _sort_by_cell(corners, spatial_shapes)
    cells = sum((h + 1) * (w + 1) for h, w in spatial_shapes)
    start = cell_start = 0
    for height, width in spatial_shapes:
        grid = (launch.batch * launch.heads * height * width,)
        if grid[0] > 0:
            with on_device(value.device):
                _sum_by_pixel_kernel[grid](
                    grad_out,
                    fractions,
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
