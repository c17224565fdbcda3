"""The inner product of some embeddings with one frame, and its gradient, at points.

A tile is a few masks on one frame. It is multiplied, sampled and dropped, so that no tensor of all
masks, frames and pixels ever is, forward or backward.
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


def tiles(
    num_masks: int, num_pixels: int, num_points: int, device: torch.device
) -> Iterator[slice]:
    """Cut the masks into runs whose tile stays small."""
    elements = _TILE_CUDA if device.type == "cuda" else _TILE
    step = max(1, elements // max(1, num_pixels, num_points))
    for start in range(0, num_masks, step):
        yield slice(start, min(start + step, num_masks))


def tile_logits(embeddings: Tensor, frame: Tensor, points: Tensor) -> Tensor:
    """Multiply, then sample: masks at points of their own.

    Args:
        embeddings: (n, C).
        frame: (C, h, w).
        points: (n, P, 2).

    Returns:
        (n, P), float32 at least.
    """
    dtype = torch.promote_types(embeddings.dtype, frame.dtype)
    tile = embeddings.to(dtype) @ frame.flatten(1).to(dtype)
    tile = tile.to(torch.promote_types(dtype, torch.float32))
    tile = tile.view(len(embeddings), 1, *frame.shape[-2:])
    return F.grid_sample(tile, _grid(points, tile.dtype), align_corners=False)[:, 0, 0]


def tile_gradient(
    grad: Tensor, embeddings: Tensor, frame: Tensor, points: Tensor, grad_frame: Tensor | None
) -> Tensor:
    """Take the gradient of the logits back to embeddings and frame.

    Args:
        grad: (n, P), of the loss by the logits.
        embeddings: (n, C).
        frame: (C, h, w).
        points: (n, P, 2), or (P, 2) where the masks share them.
        grad_frame: (C, h * w), to which the gradient by the frame is added, or None.

    Returns:
        (n, C), the gradient by the embeddings.
    """
    dtype = torch.promote_types(embeddings.dtype, frame.dtype)
    tile = _spread(grad, points, frame.shape[-2:]).to(dtype)
    if grad_frame is not None and grad_frame.dtype == dtype:
        grad_frame.addmm_(embeddings.to(dtype).T, tile)
    elif grad_frame is not None:
        grad_frame += embeddings.to(dtype).T @ tile
    return tile @ frame.flatten(1).to(dtype).T


def _grid(points: Tensor, dtype: torch.dtype) -> Tensor:
    return (2 * points - 1).to(dtype)[:, None]


def _spread(grad: Tensor, points: Tensor, size: torch.Size) -> Tensor:
    """The transpose of bilinear sampling: (n, P) at points to (n, h * w)."""
    if grad.is_cuda and torch.are_deterministic_algorithms_enabled():
        return _spread_in_order(grad, points, size)
    grid = _grid(points.expand(len(grad), *points.shape[-2:]), grad.dtype)
    # Of the input its shape alone matters: the gradient by the grid is not asked for.
    shape_only = grad.new_zeros(()).expand(len(grad), 1, *size)
    spread, _ = torch.ops.aten.grid_sampler_2d_backward(
        grad[:, None, None].contiguous(), shape_only, grid, 0, 0, False, [True, False]
    )
    return spread.flatten(1)


def _spread_in_order(grad: Tensor, points: Tensor, size: torch.Size) -> Tensor:
    """The same by an operation that has a deterministic form on GPUs."""
    rows = torch.arange(len(grad), device=grad.device)[:, None] * size.numel()
    tile = grad.new_zeros(len(grad) * size.numel())
    for index, weight in bilinear_corners(points, size):
        tile.index_add_(0, (rows + index).flatten(), (grad * weight).flatten().to(grad.dtype))
    return tile.view(len(grad), -1)
