"""Intersection over union of boolean masks."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from segblocks_kernels._check import check_same_device

# Counts up to this size are exact in float32.
_CHUNK = 1 << 24


def mask_iou(a: Tensor, b: Tensor, *, smooth: float = 0.0) -> Tensor:
    """Compute the intersection over union of every mask of ``a`` with every mask of ``b``.

    The dimensions after the first are counted together, so that masks (A, T, H, W) give the IoU
    of tracks over a clip. The counts are exact whatever the size.

    Args:
        a: (A, ...), boolean.
        b: (B, ...), boolean, of the same size after the first dimension.
        smooth: added to intersection and union; TarViS links clips with 1.

    Returns:
        (A, B), float32. Two empty masks give 0 where ``smooth`` is 0.

    Raises:
        ValueError: another dtype, different sizes or devices.

    Example:
        >>> a = torch.tensor([[True, True, False, False]])
        >>> b = torch.tensor([[True, False, False, False], [False, True, True, False]])
        >>> mask_iou(a, b)
        tensor([[0.5000, 0.3333]])
    """
    for name, masks in (("a", a), ("b", b)):
        if masks.dtype != torch.bool or masks.dim() < 1:
            raise ValueError(
                f"mask_iou: {name} must be boolean masks (N, ...), "
                f"got {tuple(masks.shape)} {masks.dtype}"
            )
    if a.shape[1:] != b.shape[1:]:
        raise ValueError(
            "mask_iou: a and b must have the same size after the first dimension, "
            f"got {tuple(a.shape)} and {tuple(b.shape)}"
        )
    check_same_device("mask_iou", a=a, b=b)
    pixels = math.prod(a.shape[1:])
    a, b = a.reshape(a.shape[0], pixels), b.reshape(b.shape[0], pixels)
    intersection = torch.zeros(a.shape[0], b.shape[0], dtype=torch.int64, device=a.device)
    with torch.autocast(a.device.type, enabled=False):
        for start in range(0, pixels, _CHUNK):
            part_a, part_b = (m[:, start : start + _CHUNK].float() for m in (a, b))
            intersection += (part_a @ part_b.T).long()
    union = a.sum(1)[:, None] + b.sum(1)[None] - intersection
    iou = (intersection + smooth) / (union + smooth)
    return torch.where((union == 0) & (smooth == 0), 0.0, iou).float()
