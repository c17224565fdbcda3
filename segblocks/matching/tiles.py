"""The inner product of some embeddings with one frame, and its gradient, at points.

A tile is a few masks on one frame. It is multiplied, sampled and dropped, so that no tensor of all
masks, frames and pixels ever is, forward or backward.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from segblocks.matching.sampling import bilinear_corners

# Elements of a tile. Smaller ones save little, since features and their gradient are larger still.
_TILE = 1 << 19


def tiles(num_masks: int, num_pixels: int, num_points: int) -> Iterator[slice]:
    """Cut the masks into runs whose tile stays small."""
    step = max(1, _TILE // max(1, num_pixels, num_points))
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
    tile = _product(embeddings, frame.flatten(1))
    sampled = torch.zeros((), device=frame.device)
    for index, weight in bilinear_corners(points, frame.shape[-2:]):
        sampled = sampled + tile.gather(1, index) * weight
    return sampled


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
    h, w = frame.shape[-2:]
    flat = frame.flatten(1)
    rows = torch.arange(len(grad), device=grad.device)[:, None] * (h * w)
    tile = torch.zeros(len(grad) * h * w, dtype=grad.dtype, device=grad.device)
    for index, weight in bilinear_corners(points, (h, w)):
        tile.index_add_(0, (rows + index).flatten(), (grad * weight).flatten().to(grad.dtype))
    dtype = torch.promote_types(embeddings.dtype, frame.dtype)
    tile = tile.view(len(grad), h * w).to(dtype)
    if grad_frame is not None and grad_frame.dtype == dtype:
        grad_frame.addmm_(embeddings.to(dtype).T, tile)
    elif grad_frame is not None:
        grad_frame += embeddings.to(dtype).T @ tile
    return tile @ flat.to(dtype).T


def _product(embeddings: Tensor, flat: Tensor) -> Tensor:
    dtype = torch.promote_types(embeddings.dtype, flat.dtype)
    logits = embeddings.to(dtype) @ flat.to(dtype)
    return logits.to(torch.promote_types(dtype, torch.float32))
