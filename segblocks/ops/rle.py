"""Run-length encoded masks, in memory and in COCO's compressed text."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

_BITS = 5
_MORE = 1 << _BITS
_OFFSET = 48
# Lengths are held in 32 bits.
_MAX_PIXELS = 1 << 32


@dataclass(frozen=True, eq=False)
class RLE:
    """Hold a mask as the lengths of its runs.

    The pixels are read column by column, as COCO does, and the first run is one of background
    (of length 0 where the first pixel belongs to the mask).

    Args:
        size: (H, W).
        counts: lengths of the runs, background and mask in turn.

    Raises:
        ValueError: no size of less than 2^32 pixels, no whole numbers, or runs that do not add up
            to H x W.
    """

    size: tuple[int, int]
    counts: NDArray[np.integer]

    def __post_init__(self) -> None:
        height, width = _whole_size(self.size)
        counts = _whole_lengths(self.counts)
        pixels = height * width
        # A sum of lengths that are each too large could come out right by overflow.
        fit = counts.ndim == 1 and not ((counts < 0) | (counts > pixels)).any()
        if not fit or counts.sum() != pixels:
            raise ValueError(
                f"RLE: counts must be lengths that add up to {height}x{width} = {pixels}, "
                f"got {counts.size} numbers with a sum of {counts.sum()}"
            )
        counts = counts.astype(np.uint32)
        counts.flags.writeable = False
        object.__setattr__(self, "size", (height, width))
        object.__setattr__(self, "counts", counts)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, RLE):
            return NotImplemented
        return self.size == other.size and np.array_equal(self.counts, other.counts)

    def __hash__(self) -> int:
        return hash((self.size, self.counts.tobytes()))

    def __repr__(self) -> str:
        return f"RLE(size={self.size}, {len(self.counts)} runs, area={area(self)})"


def encode(mask: ArrayLike) -> RLE:
    """Encode a mask.

    Args:
        mask: (H, W), boolean.

    Raises:
        ValueError: another shape.
        TypeError: another dtype.

    Example:
        >>> encode(np.array([[True, False], [True, True]])).counts
        array([0, 2, 1, 1], dtype=uint32)
    """
    pixels = np.asarray(mask)
    if pixels.ndim != 2:
        raise ValueError(f"encode: mask must have shape (H, W), got {pixels.shape}")
    if pixels.dtype != np.bool_:
        raise TypeError(f"encode: mask must be boolean, got {pixels.dtype}")
    height, width = pixels.shape
    # Most masks are small: only the columns that they touch are worth transposing.
    columns = np.flatnonzero(pixels.any(axis=0))
    if not len(columns):
        return RLE((height, width), np.array([height * width], dtype=np.uint32))
    first, last = int(columns[0]), int(columns[-1]) + 1
    flat = np.zeros((last - first) * height + 2, dtype=np.bool_)
    flat[1:-1].reshape(last - first, height)[:] = pixels[:, first:last].T
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + first * height
    ends = [] if edges[-1] == height * width else [height * width]
    return RLE((height, width), np.diff(edges, prepend=0, append=ends).astype(np.uint32))


def decode(rle: RLE) -> NDArray[np.bool_]:
    """Return the mask (H, W), boolean.

    Example:
        >>> decode(RLE((2, 2), np.array([0, 2, 1, 1])))
        array([[ True, False],
               [ True,  True]])
    """
    height, width = rle.size
    flat = np.repeat(np.arange(len(rle.counts)) % 2 == 1, rle.counts)
    return np.ascontiguousarray(flat.reshape(width, height).T)


def area(rle: RLE) -> int:
    """Return the number of pixels that belong to the mask."""
    return int(rle.counts[1::2].sum())


def to_coco(rle: RLE) -> dict[str, Any]:
    """Write a mask the way COCO's tools do.

    Returns:
        ``{"size": [H, W], "counts": text}``; the text is what pycocotools makes of the same mask.

    Example:
        >>> to_coco(encode(np.eye(3, dtype=bool)))
        {'size': [3, 3], 'counts': '013000'}
    """
    return {"size": list(rle.size), "counts": _compress(rle.counts.astype(np.int64))}


def from_coco(coco: Mapping[str, Any]) -> RLE:
    """Read a mask that COCO's tools wrote.

    Args:
        coco: ``size`` [H, W], and ``counts`` as compressed text (str or bytes) or as a list of
            lengths.

    Raises:
        ValueError: a missing key, text that is no run lengths, a size that is none, or lengths that
            do not add up to it.
    """
    if missing := {"size", "counts"} - set(coco):
        raise ValueError(f"from_coco: the mask must have size and counts, it lacks {missing}")
    counts = coco["counts"]
    if isinstance(counts, str):
        counts = counts.encode("ascii", errors="replace")
    if isinstance(counts, bytes):
        counts = _decompress(counts)
    return RLE(coco["size"], counts)


def _whole_size(size: Any) -> tuple[int, int]:
    try:
        height, width = map(operator.index, size)
    except (TypeError, ValueError):
        height, width = -1, -1
    if min(height, width) < 0 or height * width >= _MAX_PIXELS:
        raise ValueError(
            f"RLE: size must be (height, width) of less than {_MAX_PIXELS} pixels, got {size!r}"
        )
    return height, width


def _whole_lengths(counts: Any) -> NDArray[np.int64]:
    try:
        lengths = np.asarray(counts)
    except ValueError:  # lists of different lengths in one
        lengths = np.asarray(None)
    if lengths.dtype.kind not in "iu" and lengths.size:
        raise ValueError(f"RLE: counts must be whole numbers, got {str(counts)[:40]}")
    return lengths.astype(np.int64)


def _compress(counts: NDArray[np.int64]) -> str:
    values = counts.copy()
    values[3:] -= counts[1:-2]
    # Two's complement: a negative number needs the bits of its complement, and a sign.
    bits = np.frexp(np.where(values < 0, ~values, values).astype(np.float64))[1] + 1
    lengths = -(-bits // _BITS)
    starts = np.cumsum(lengths) - lengths
    text = np.zeros(int(lengths.sum()), dtype=np.uint8)
    for step in range(int(lengths.max(initial=0))):
        has = lengths > step
        digit = (values[has] >> (_BITS * step)) & (_MORE - 1)
        digit |= np.where(lengths[has] > step + 1, _MORE, 0)
        text[starts[has] + step] = digit + _OFFSET
    return text.tobytes().decode("ascii")


def _decompress(text: bytes) -> NDArray[np.int64]:
    digits = np.frombuffer(text, dtype=np.uint8).astype(np.int64) - _OFFSET
    if not len(digits):
        return digits
    ends = np.flatnonzero(digits & _MORE == 0)
    valid = digits.min() >= 0 and digits.max() < 2 * _MORE and digits[-1] & _MORE == 0
    starts = np.concatenate([[0], ends[:-1] + 1]) if valid else ends
    lengths = ends - starts + 1
    if not valid or lengths.max() > 12:
        raise ValueError(f"from_coco: counts must be compressed run lengths, got {text[:40]!r}")
    shifts = _BITS * (np.arange(len(digits)) - np.repeat(starts, lengths))
    values = np.add.reduceat((digits & (_MORE - 1)) << shifts, starts)
    negative = digits[ends] & (_MORE >> 1) != 0
    values[negative] -= np.int64(1) << (_BITS * lengths[negative])
    # From the fourth on, each length was stored as the difference to the one two before.
    values[1::2] = np.cumsum(values[1::2])
    values[2::2] = np.cumsum(values[2::2])
    return values
