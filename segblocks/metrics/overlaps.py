"""How many pixels masks have in common."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_WORD = 64


def intersections(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Count the pixels that every mask of ``a`` shares with every mask of ``b``.

    Args:
        a: (A, H, W).
        b: (B, H, W).

    Returns:
        (A, B).

    Example:
        >>> masks = np.array([[[True, True, False]], [[False, True, True]]])
        >>> intersections(masks, masks)
        array([[2, 1],
               [1, 2]])
    """
    words, other = _pack(a), _pack(b)
    counts = np.zeros((len(a), len(b)), dtype=np.int64)
    for row, word in zip(counts, words, strict=True):
        row[:] = np.bitwise_count(word & other).sum(axis=1, dtype=np.int64)
    return counts


def areas(masks: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the pixels of each mask, (N,)."""
    return np.count_nonzero(masks, axis=(1, 2))


def iou(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the intersection over union of every mask of ``a`` with every one of ``b``, (A, B).

    Two empty masks give 0.
    """
    common = intersections(a, b)
    union = areas(a)[:, None] + areas(b)[None] - common
    return common / np.maximum(union, 1)


def _pack(masks: NDArray[np.bool_]) -> NDArray[np.uint64]:
    pixels = masks.shape[1] * masks.shape[2]
    flat = masks.reshape(len(masks), pixels)
    packed = np.zeros((len(masks), -(-pixels // _WORD) * 8), dtype=np.uint8)
    packed[:, : -(-pixels // 8)] = np.packbits(flat, axis=1)
    return packed.view(np.uint64)
