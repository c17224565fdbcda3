"""Multi-scale deformable attention in plain PyTorch: the specification of the operation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def compute_dtype(*tensors: Tensor) -> torch.dtype:
    """The type of coordinates and sums: float64 where a tensor asks for it, float32 otherwise."""
    double = any(tensor.dtype == torch.float64 for tensor in tensors)
    return torch.float64 if double else torch.float32


def levels_with_pixels(
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

    Arguments as in ``ms_deform_attn``. Differentiable by autograd.
    """
    batch, _, heads, dim = value.shape
    queries = sampling_locations.shape[1]
    dtype = compute_dtype(value, sampling_locations)
    out = value.new_zeros((batch * heads, dim, queries), dtype=dtype)
    if out.numel() > 0:
        inputs = value.to(dtype), spatial_shapes, sampling_locations.to(dtype)
        for _, level, grid, weight in levels_with_pixels(*inputs, attention_weights.to(dtype)):
            sampled = F.grid_sample(level, grid, align_corners=False)  # (B*M, D, Q, P)
            out = out + (sampled * weight).sum(-1)
    merged = out.view(batch, heads * dim, queries).transpose(1, 2)
    return merged.to(value.dtype).contiguous()
