"""Which class was taken for which."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

Sparse = list[list[int]]


def to_sparse(counts: NDArray[np.integer]) -> Sparse:
    """Return the entries of a matrix that are not 0, as [row, column, count]."""
    rows, columns = np.nonzero(counts)
    return np.stack([rows, columns, counts[rows, columns]], axis=1).tolist()


def sum_sparse(parts: Iterable[Sparse]) -> NDArray[np.int64]:
    """Add matrices up; the result is as large as the largest row and column, and square."""
    entries = np.array([entry for part in parts for entry in part], dtype=np.int64).reshape(-1, 3)
    size = int(entries[:, :2].max(initial=-1)) + 1
    counts = np.zeros((size, size), dtype=np.int64)
    np.add.at(counts, (entries[:, 0], entries[:, 1]), entries[:, 2])
    return counts


def joint_counts(
    rows: NDArray[np.integer], columns: NDArray[np.integer], shape: tuple[int, int]
) -> NDArray[np.int64]:
    """Count how often each pair of values occurs at the same place.

    Args:
        rows: values from 0 to R-1.
        columns: of the same shape as ``rows``, values from 0 to C-1.
        shape: (R, C).
    """
    joint = np.multiply(rows, shape[1], dtype=np.int64)
    joint += columns
    return np.bincount(joint.ravel(), minlength=shape[0] * shape[1]).reshape(shape)


def class_ious(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the IoU of every class, NaN where it is neither there nor predicted.

    Args:
        counts: (K, K), pixels by true class and by predicted class.
    """
    common = counts.diagonal()
    union = counts.sum(axis=0) + counts.sum(axis=1) - common
    return np.where(union > 0, common / np.maximum(union, 1), np.nan)
