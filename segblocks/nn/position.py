"""Sinusoidal positions of pixels and frames."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from segblocks.nn.shape_cache import SHARED

TEMPERATURE = 10000.0
EPSILON = 1e-6


def sine_code(position: Tensor, num_features: int) -> Tensor:
    """Encode positions by interleaved sines and cosines.

    Feature i is ``sin(p / f)`` for even i and ``cos(p / f)`` for odd i, with
    ``f = 10000 ** (2 * floor(i / 2) / num_features)`` (as DETR and its descendants).

    Args:
        position: any shape (...).
        num_features: even.

    Returns:
        (..., num_features), the dtype of ``position``.

    Example:
        >>> sine_code(torch.tensor([0.0, 1.0]), 4)[0]
        tensor([0., 1., 0., 1.])
    """
    if num_features % 2:
        raise ValueError(f"sine_code: num_features must be even, got {num_features}")
    index = torch.arange(num_features, dtype=position.dtype, device=position.device)
    frequency = TEMPERATURE ** (2 * torch.div(index, 2, rounding_mode="floor") / num_features)
    angle = position[..., None] / frequency
    return torch.stack((angle[..., 0::2].sin(), angle[..., 1::2].cos()), dim=-1).flatten(-2)


def _axis(length: int, normalize: bool, device: torch.device | None, dtype: torch.dtype) -> Tensor:
    ordinal = torch.arange(1, length + 1, device=device, dtype=dtype)
    return ordinal / (length + EPSILON) * (2 * math.pi) if normalize else ordinal


def sine_position_2d(
    height: int,
    width: int,
    embed_dim: int,
    *,
    normalize: bool = True,
    device: torch.device | None = None,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Encode the pixels of a grid: one half of the channels for y, the other for x.

    Args:
        height: rows.
        width: columns.
        embed_dim: channels, a multiple of 4.
        normalize: positions run to 2 pi over the grid (Mask2Former, TarViS' neck); otherwise they
            are 1-based pixel coordinates (TarViS' object encoder).
        device: of the result.
        dtype: of the result; positions in half precision are too coarse.

    Returns:
        (height, width, embed_dim).

    Example:
        >>> sine_position_2d(4, 6, 32).shape
        torch.Size([4, 6, 32])
    """
    y = sine_code(_axis(height, normalize, device, dtype), embed_dim // 2)
    x = sine_code(_axis(width, normalize, device, dtype), embed_dim // 2)
    y = y[:, None].expand(height, width, -1)
    x = x[None, :].expand(height, width, -1)
    return torch.cat((y, x), dim=-1)


def sine_position_at(points: Tensor, size: tuple[int, int], embed_dim: int) -> Tensor:
    """Encode places of a grid; at its pixel centres this is :func:`sine_position_2d`.

    Args:
        points: (..., 2) as (x, y), in [0, 1] of the grid.
        size: (height, width) of the grid.
        embed_dim: channels, a multiple of 4.

    Returns:
        (..., embed_dim), the dtype of ``points``.

    Example:
        >>> sine_position_at(torch.rand(5, 2), (4, 6), 32).shape
        torch.Size([5, 32])
    """
    height, width = size
    x, y = points.unbind(-1)
    codes = [
        sine_code((at * length + 0.5) / (length + EPSILON) * (2 * math.pi), embed_dim // 2)
        for at, length in ((y, height), (x, width))
    ]
    return torch.cat(codes, dim=-1)


def sine_position_3d(
    frames: int,
    height: int,
    width: int,
    embed_dim: int,
    *,
    frame_indices: Sequence[int] | Tensor | None = None,
    device: torch.device | None = None,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Encode the pixels of a clip: the code of the frame is added to that of the pixel.

    Args:
        frames: T.
        height: rows.
        width: columns.
        embed_dim: channels, a multiple of 4.
        frame_indices: None places frame t at (t + 1) / T of a turn (Mask2Former-VIS, TarViS);
            T absolute indices place it at index / 128 turns (UniVS).
        device: of the result.
        dtype: of the result.

    Returns:
        (T, height, width, embed_dim).

    Raises:
        ValueError: the number of ``frame_indices`` is not T.

    Example:
        >>> sine_position_3d(3, 4, 6, 32).shape
        torch.Size([3, 4, 6, 32])
    """
    if frame_indices is not None and len(frame_indices) != frames:
        raise ValueError(
            f"sine_position_3d: frame_indices must name {frames} frames, got {len(frame_indices)}"
        )
    plane = SHARED.get(sine_position_2d, height, width, embed_dim, device=device, dtype=dtype)
    if frame_indices is None:
        code = SHARED.get(_turn_code, frames, embed_dim, device=device, dtype=dtype)
    else:
        code = sine_code(_absolute_times(frame_indices, device, dtype), embed_dim)
    return plane + code[:, None, None]


def _turn_code(
    frames: int, embed_dim: int, *, device: torch.device | None, dtype: torch.dtype
) -> Tensor:
    """The code of each of ``frames`` times of one turn, (T, embed_dim)."""
    return sine_code(_axis(frames, True, device, dtype), embed_dim)


def _absolute_times(
    frame_indices: Sequence[int] | Tensor, device: torch.device | None, dtype: torch.dtype
) -> Tensor:
    if isinstance(frame_indices, Tensor):
        indices = frame_indices.to(device=device, dtype=dtype)
    else:
        # Numbers travel with the launches; a list would be copied, and the host would wait.
        filled = [torch.full((1,), i, device=device, dtype=dtype) for i in frame_indices]
        indices = torch.cat([torch.zeros(0, device=device, dtype=dtype), *filled])
    return indices / 128 * (2 * math.pi)
