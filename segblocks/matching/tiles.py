"""The inner product of some embeddings with some frames, and its gradient, at points.

Masks come in sets that share their points. A tile is some masks of some sets on some frames. It is
multiplied, sampled and dropped, so that no tensor of all masks, frames and pixels ever is, forward
or backward.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from segblocks.matching.sampling import bilinear_corners

# Elements of a tile. On a GPU larger ones, since each operation has to be launched.
_TILE = 1 << 19
_TILE_CUDA = 1 << 21

Tile = tuple[slice, slice, slice]


def runs(count: int, size: int, device: torch.device) -> Iterator[slice]:
    """Cut ``count`` things of ``size`` elements into runs that stay small."""
    yield from _steps(count, _room(device) // max(1, size))


def tiles(shape: tuple[int, int, int], size: int, device: torch.device) -> Iterator[Tile]:
    """Cut masks into tiles that stay small.

    Args:
        shape: (M, k, T), how many sets, masks of a set, and frames there are.
        size: elements that one mask has on one frame.
        device: where they are.

    Yields:
        Slices of sets, masks and frames.
    """
    num_sets, num_masks, num_frames = shape
    masks = max(1, min(num_masks, _room(device) // max(1, size)))
    sets = max(1, min(num_sets, _room(device) // max(1, size * masks)))
    frames = max(1, _room(device) // max(1, size * masks * sets))
    for of_frames in _steps(num_frames, frames):
        for of_sets in _steps(num_sets, sets):
            for of_masks in _steps(num_masks, masks):
                yield of_sets, of_masks, of_frames


def tile_logits(embeddings: Tensor, features: Tensor, points: Tensor) -> Tensor:
    """Multiply, then sample.

    Args:
        embeddings: (m, k, t, C).
        features: (t, C, h, w).
        points: (m, t, P, 2).

    Returns:
        (m, k, t, P), float32 at least.
    """
    m, k, t, _ = embeddings.shape
    dtype = torch.promote_types(embeddings.dtype, features.dtype)
    maps = _rows(embeddings).to(dtype) @ features.flatten(2).to(dtype)
    maps = maps.to(torch.promote_types(dtype, torch.float32))
    maps = maps.view(t * m, k, *features.shape[-2:])
    sampled = F.grid_sample(maps, _grid(points, maps.dtype), align_corners=False)
    return sampled.view(t, m, k, points.shape[-2]).permute(1, 2, 0, 3)


def tile_gradient(
    grad: Tensor, embeddings: Tensor, features: Tensor, points: Tensor, into: Tensor | None
) -> Tensor:
    """Take the gradient of the logits back to embeddings and features.

    Args:
        grad: (m, k, t, P), of the loss by the logits.
        embeddings: (m, k, t, C).
        features: (t, C, h, w).
        points: (m, t, P, 2).
        into: (t, C, h * w), to which the gradient by the features is added, or None.

    Returns:
        (m, k, t, C), the gradient by the embeddings.
    """
    m, k, t, channels = embeddings.shape
    dtype = torch.promote_types(embeddings.dtype, features.dtype)
    maps = _spread(grad, points, features.shape[-2:]).to(dtype)
    if into is not None and into.dtype == dtype:
        into.baddbmm_(_rows(embeddings).to(dtype).mT, maps)
    elif into is not None:
        into += _rows(embeddings).to(dtype).mT @ maps
    by_rows = maps @ features.flatten(2).to(dtype).mT
    return by_rows.view(t, m, k, channels).permute(1, 2, 0, 3)


def _room(device: torch.device) -> int:
    return _TILE_CUDA if device.type == "cuda" else _TILE


def _steps(count: int, step: int) -> Iterator[slice]:
    step = max(1, step)
    for start in range(0, count, step):
        yield slice(start, min(start + step, count))


def _rows(embeddings: Tensor) -> Tensor:
    """From (m, k, t, C) to (t, m * k, C)."""
    m, k, t, channels = embeddings.shape
    return embeddings.permute(2, 0, 1, 3).reshape(t, m * k, channels)


def _grid(points: Tensor, dtype: torch.dtype) -> Tensor:
    """From points (m, t, P, 2) to the grid (t * m, 1, P, 2) of ``grid_sample``."""
    m, t, num_points, _ = points.shape
    return (2 * points - 1).to(dtype).transpose(0, 1).reshape(t * m, 1, num_points, 2)


def _spread(grad: Tensor, points: Tensor, size: torch.Size) -> Tensor:
    """The transpose of bilinear sampling: (m, k, t, P) at (m, t, P, 2) to (t, m * k, h * w)."""
    m, k, t, num_points = grad.shape
    grad = grad.permute(2, 0, 1, 3).reshape(t * m, k, 1, num_points)
    if grad.is_cuda and torch.are_deterministic_algorithms_enabled():
        spread = _spread_in_order(grad[:, :, 0], points.transpose(0, 1).flatten(0, 1), size)
    else:
        # Of the input its shape alone matters: the gradient by the grid is not asked for.
        shape_only = grad.new_zeros(()).expand(t * m, k, *size)
        spread, _ = torch.ops.aten.grid_sampler_2d_backward(
            grad, shape_only, _grid(points, grad.dtype), 0, 0, False, [True, False]
        )
    return spread.view(t, m * k, size.numel())


def _spread_in_order(grad: Tensor, points: Tensor, size: torch.Size) -> Tensor:
    """From (n, k, P) at (n, P, 2), by an operation that has a deterministic form on GPUs."""
    rows = torch.arange(grad.shape[0] * grad.shape[1], device=grad.device) * size.numel()
    rows = rows.view(*grad.shape[:2], 1)
    maps = grad.new_zeros(rows.numel() * size.numel())
    for index, weight in bilinear_corners(points, size):
        values = (grad * weight[:, None]).to(grad.dtype)
        maps.index_add_(0, (rows + index[:, None]).flatten(), values.flatten())
    return maps
