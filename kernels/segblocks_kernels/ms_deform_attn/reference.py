"""Multi-scale deformable attention in plain PyTorch: the specification of the operation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def compute_dtype(value: Tensor, sampling_locations: Tensor) -> torch.dtype:
    """The type of coordinates and sums: float64 where an input asks for it, float32 otherwise."""
    double = torch.float64 in (value.dtype, sampling_locations.dtype)
    return torch.float64 if double else torch.float32


def _levels(
    value: Tensor, spatial_shapes: Sequence[tuple[int, int]], locations: Tensor, weights: Tensor
) -> Iterator[tuple[int, Tensor, Tensor, Tensor]]:
    """Each level that has pixels: its index, map (B*M, D, h, w), grid (B*M, Q, P, 2), weights."""
    batch, _, heads, dim = value.shape
    start = 0
    for index, (height, width) in enumerate(spatial_shapes):
        size = height * width
        if size > 0:
            level = value[:, start : start + size].permute(0, 2, 3, 1)
            # Two maps away is outside for any size, and grid_sample makes NaN of much larger ones.
            near = locations[:, :, :, index].clamp(-2, 3)
            # grid_sample spans the map's outer edges with [-1, 1].
            grid = 2 * near.transpose(1, 2).flatten(0, 1) - 1
            weight = weights[:, :, :, index].transpose(1, 2).flatten(0, 1).unsqueeze(1)
            yield index, level.reshape(batch * heads, dim, height, width), grid, weight
        start += size


def ms_deform_attn_reference(
    value: Tensor,
    spatial_shapes: Sequence[tuple[int, int]],
    sampling_locations: Tensor,
    attention_weights: Tensor,
) -> Tensor:
    """Sample every level bilinearly at the given points and sum them with the given weights.

    Arguments as in ``ms_deform_attn``. Differentiable by autograd, any number of times that
    ``grid_sample`` is.
    """
    batch, _, heads, dim = value.shape
    queries = sampling_locations.shape[1]
    dtype = compute_dtype(value, sampling_locations)
    out = value.new_zeros((batch * heads, dim, queries), dtype=dtype)
    if out.numel() > 0:
        inputs = value.to(dtype), spatial_shapes, sampling_locations.to(dtype)
        for _, level, grid, weight in _levels(*inputs, attention_weights.to(dtype)):
            sampled = F.grid_sample(level, grid, align_corners=False)  # (B*M, D, Q, P)
            out = out + (sampled * weight).sum(-1)
    merged = out.view(batch, heads * dim, queries).transpose(1, 2)
    return merged.to(value.dtype).contiguous()


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
        for index, level, grid, weight in _levels(*inputs, attention_weights.to(dtype)):
            if needs[2]:
                sampled = F.grid_sample(level, grid, align_corners=False)
                by_head = (sampled * grad).sum(1).view(batch, heads, queries, -1)
                grad_weights[:, :, :, index] = by_head.transpose(1, 2)
            of_level, of_grid = torch.ops.aten.grid_sampler_2d_backward(
                grad * weight, level, grid, 0, 0, False, (needs[0], True)
            )
            of_grid = of_grid.view(batch, heads, queries, -1, 2)
            grad_locations[:, :, :, index] = 2 * of_grid.transpose(1, 2)
            if needs[0]:
                start = sum(h * w for h, w in spatial_shapes[:index])
                stop = start + level.shape[2] * level.shape[3]
                grad_value[..., start:stop] = of_level.view(batch, heads, dim, stop - start)
    return (
        grad_value.permute(0, 3, 1, 2).to(value.dtype).contiguous() if needs[0] else None,
        grad_locations.to(sampling_locations.dtype) if needs[1] else None,
        grad_weights.to(attention_weights.dtype) if needs[2] else None,
    )
