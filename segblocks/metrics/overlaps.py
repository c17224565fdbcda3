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
    # One mask at a time: counting along axes is many times slower.
    return np.array([np.count_nonzero(mask) for mask in masks], dtype=np.int64)


def iou(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the intersection over union of every mask of ``a`` with every one of ``b``, (A, B).

    Two empty masks give 0.
    """
    common = intersections(a, b)
    union = areas(a)[:, None] + areas(b)[None] - common
    return common / np.maximum(union, 1)


def box_iou(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the IoU of the boxes around masks, (A, B).

    Args:
        a: (A, H, W), none of them empty.
        b: (B, H, W), none of them empty.
    """
    first, second = _boxes(a)[:, None], _boxes(b)[None]
    low, high = np.maximum(first[..., 0], second[..., 0]), np.minimum(first[..., 1], second[..., 1])
    common = np.maximum(high - low, 0).prod(axis=-1)
    sizes = [(boxes[..., 1] - boxes[..., 0]).prod(axis=-1) for boxes in (first, second)]
    return common / (sizes[0] + sizes[1] - common)


def _boxes(masks: NDArray[np.bool_]) -> NDArray[np.int64]:
    """(N, 2, 2): first pixel, and the one after the last, of rows and of columns."""
    boxes = np.zeros((len(masks), 2, 2), dtype=np.int64)
    for box, mask in zip(boxes, masks, strict=True):
        for side, shown in zip(box, (mask.any(axis=1), mask.any(axis=0)), strict=True):
            where = np.flatnonzero(shown)
            side[:] = where[0], where[-1] + 1
    return boxes


def _pack(masks: NDArray[np.bool_]) -> NDArray[np.uint64]:
    pixels = masks.shape[1] * masks.shape[2]
    flat = masks.reshape(len(masks), pixels)
    packed = np.zeros((len(masks), -(-pixels // _WORD) * 8), dtype=np.uint8)
    packed[:, : -(-pixels // 8)] = np.packbits(flat, axis=1)
    return packed.view(np.uint64)
