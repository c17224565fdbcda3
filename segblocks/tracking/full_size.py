"""Masks and label maps at the size of the video, without all logits at that size at once."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segblocks.ops.resize import resize_logits

# At most so many logits are enlarged at a time: 128 MiB in float32.
_MAX_ELEMENTS = 1 << 25


def full_size_masks(
    logits: Tensor, model_size: tuple[int, int], size: tuple[int, int]
) -> NDArray[np.bool_]:
    """Enlarge the logits of one frame and keep where they are positive.

    Args:
        logits: (N, h, w) at stride 4 of the padded clip.
        model_size: (height, width) of the clip's frames before padding.
        size: (H, W) of the video.

    Returns:
        (N, H, W).

    Example:
        >>> full_size_masks(torch.ones(3, 16, 16), (60, 64), (30, 32)).shape
        (3, 30, 32)
    """
    masks = np.zeros((len(logits), *size), dtype=np.bool_)
    for start, full in _enlarged(logits, model_size, size):
        masks[start : start + len(full)] = (full > 0).cpu().numpy()
    return masks


def full_size_argmax(
    logits: Tensor, model_size: tuple[int, int], size: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Enlarge the logits of one frame and find the greatest at each pixel.

    Args:
        logits: (N, h, w) at stride 4 of the padded clip, N at least 1.
        model_size: (height, width) of the clip's frames before padding.
        size: (H, W) of the video.

    Returns:
        The greatest logit and its index, (H, W) each; the first index where several are equal.

    Example:
        >>> best, index = full_size_argmax(torch.eye(3)[:, :, None], (12, 4), (12, 4))
        >>> index[:, 0]
        tensor([0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2])
    """
    parts = _enlarged(logits, model_size, size)
    _, full = next(parts)
    best, index = full.max(dim=0)
    for start, full in parts:
        value, local = full.max(dim=0)
        better = value > best
        best = torch.where(better, value, best)
        index = torch.where(better, local + start, index)
    return best, index


def _enlarged(
    logits: Tensor, model_size: tuple[int, int], size: tuple[int, int]
) -> Iterator[tuple[int, Tensor]]:
    """Enlarge a few rows at a time; yields the index of the first and (n, H, W)."""
    padded = 16 * logits.shape[-2] * logits.shape[-1]
    rows = max(1, _MAX_ELEMENTS // max(padded, size[0] * size[1]))
    for start in range(0, len(logits), rows):
        yield start, resize_logits(logits[start : start + rows], model_size, size)
