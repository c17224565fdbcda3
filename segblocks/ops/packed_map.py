"""Label maps in compressed memory."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# The fastest level: label maps are so regular that the others gain little.
_LEVEL = 1
_DTYPES = (np.uint8, np.int8, np.uint16, np.int16, np.int32)


@dataclass(frozen=True, repr=False)
class PackedMap:
    """Hold a label map of integers, compressed without loss.

    A semantic map of a 480p frame takes some kilobytes instead of 1.6 MB.

    Args:
        shape: (H, W).
        dtype: the smallest integer type that holds the labels.
        data: the compressed rows.

    Example:
        >>> PackedMap.pack(np.full((480, 854), 7)).unpack()[0, 0].item()
        7
    """

    shape: tuple[int, int]
    dtype: str
    data: bytes

    @classmethod
    def pack(cls, label_map: NDArray[np.integer]) -> PackedMap:
        """Compress a map.

        Raises:
            ValueError: not two-dimensional, or labels beyond int32.
            TypeError: not integers.
        """
        if label_map.ndim != 2:
            raise ValueError(f"PackedMap: label_map must have shape (H, W), got {label_map.shape}")
        if not np.issubdtype(label_map.dtype, np.integer):
            raise TypeError(f"PackedMap: label_map must hold integers, got {label_map.dtype}")
        low, high = int(label_map.min(initial=0)), int(label_map.max(initial=0))
        fitting = [d for d in _DTYPES if np.iinfo(d).min <= low and high <= np.iinfo(d).max]
        if not fitting:
            raise ValueError(f"PackedMap: labels must fit into int32, got {low} to {high}")
        dtype = np.dtype(fitting[0])
        rows = np.ascontiguousarray(label_map.astype(dtype))
        return cls(label_map.shape, dtype.str, zlib.compress(rows.data, _LEVEL))

    def unpack(self) -> NDArray[np.int32]:
        """Return the map (H, W), int32."""
        flat = np.frombuffer(zlib.decompress(self.data), dtype=self.dtype)
        return flat.reshape(self.shape).astype(np.int32)

    def __repr__(self) -> str:
        return f"PackedMap({self.shape}, {len(self.data)} bytes)"
