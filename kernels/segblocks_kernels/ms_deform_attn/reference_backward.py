"""The gradients of the specification, for the operator's backward."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from .reference import compute_dtype, levels_with_pixels


def grid_sample_backward_indexed(
    grad: Tensor, level: Tensor, grid: Tensor
) -> tuple[Tensor, Tensor]:
    """Differentiate ``grid_sample`` by operations that all have a deterministic form.

    Args:
        grad: of the samples, (B, D, Q, P).
        level: the map (B, D, h, w).
        grid: (x, y) in [-1, 1], (B, Q, P, 2).

    Returns:
        The gradients of ``level`` and ``grid``.
    """
    batch, dim, height, width = level.shape
    x = ((grid[..., 0] + 1) * width - 1) / 2
    y = ((grid[..., 1] + 1) * height - 1) / 2
    left, top = x.floor(), y.floor()
    first = torch.arange(batch, device=level.device).view(-1, 1, 1) * (height * width)
    rows = level.permute(0, 2, 3, 1).reshape(-1, dim)
    grad_rows = torch.zeros_like(rows)
    shares = grad.permute(0, 2, 3, 1)  # (B, Q, P, D)
    of_x, of_y = torch.zeros_like(x), torch.zeros_like(y)
    for i, j in ((0, 0), (0, 1), (1, 0), (1, 1)):
        row, column = top + i, left + j
        inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
        # Integers before the product: float32 counts pixels only up to 2^24.
        row_index, column_index = (torch.where(inside, t, 0).long() for t in (row, column))
        index = first + row_index * width + column_index
        down, across = 1 - (y - row).abs(), 1 - (x - column).abs()
        weight = torch.where(inside, down * across, 0)
        grad_rows.index_add_(0, index.flatten(), (shares * weight[..., None]).flatten(0, 2))
        dot = torch.where(inside, (rows[index] * shares).sum(-1), 0)
        of_x += dot * (down if j else -down)
        of_y += dot * (across if i else -across)
    of_grid = torch.stack((of_x * (width / 2), of_y * (height / 2)), -1)
    return grad_rows.view(batch, height, width, dim).permute(0, 3, 1, 2), of_grid


def _grid_sample_backward(
    grad: Tensor, level: Tensor, grid: Tensor, of_level: bool
) -> tuple[Tensor, Tensor]:
    # PyTorch's own is deterministic on the CPU only, and says so by an error.
    if level.is_cuda and torch.are_deterministic_algorithms_enabled():
        return grid_sample_backward_indexed(grad, level, grid)
    return torch.ops.aten.grid_sampler_2d_backward(grad, level, grid, 0, 0, False, (of_level, True))


def ms_deform_attn_backward_reference(
    grad_out: Tensor,
    value: Tensor,
    spatial_shapes: Sequence[tuple[int, int]],
    sampling_locations: Tensor,
    attention_weights: Tensor,
    needs: tuple[bool, bool, bool] = (True, True, True),
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """The gradients that ``needs`` asks for, in the types of their inputs, without autograd.

    An operator's kernel runs below autograd, where the graph of the forward cannot be recorded.
    """
    batch, tokens, heads, dim = value.shape
    queries = sampling_locations.shape[1]
    dtype = compute_dtype(value, sampling_locations)
    grad_value = value.new_zeros((batch, heads, dim, tokens), dtype=dtype)
    grad_locations = value.new_zeros(sampling_locations.shape, dtype=dtype)
    grad_weights = value.new_zeros(attention_weights.shape, dtype=dtype)
    grad = grad_out.to(dtype).reshape(batch, queries, heads, dim).permute(0, 2, 3, 1)
    grad = grad.reshape(batch * heads, dim, queries, 1)
    if grad.numel() > 0:
        inputs = value.to(dtype), spatial_shapes, sampling_locations.to(dtype)
        for index, level, grid, weight in levels_with_pixels(*inputs, attention_weights.to(dtype)):
            if needs[2]:
                sampled = F.grid_sample(level, grid, align_corners=False)
                by_head = (sampled * grad).sum(1).view(batch, heads, queries, -1)
                grad_weights[:, :, :, index] = by_head.transpose(1, 2)
            of_level, of_grid = _grid_sample_backward(grad * weight, level, grid, needs[0])
            of_grid = of_grid.view(batch, heads, queries, -1, 2)
            grad_locations[:, :, :, index] = 2 * of_grid.transpose(1, 2)
            if needs[0]:
                start = sum(h * w for h, w in spatial_shapes[:index])
                stop = start + level.shape[2] * level.shape[3]
                grad_value[..., start:stop] = of_level.reshape(batch, heads, dim, stop - start)
    return (
        grad_value.permute(0, 3, 1, 2).to(value.dtype).contiguous() if needs[0] else None,
        grad_locations.to(sampling_locations.dtype) if needs[1] else None,
        grad_weights.to(attention_weights.dtype) if needs[2] else None,
    )
