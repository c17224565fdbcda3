"""Pixels of masks by their number, without waiting for the device.

How many pixels a mask has is data, and ``nonzero`` makes a size of it: the host has to wait, and a
program of ``torch.export`` cannot. Here only the asked pixels are looked for.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


class MaskPixels:
    """The pixels of masks, in reading order.

    Args:
        masks: (O, H, W) bool.

    Attributes:
        counts: (O,) int64, how many pixels each has.

    Example:
        >>> pixels = MaskPixels(torch.tensor([[[False, True], [True, True]]]))
        >>> pixels.counts.tolist(), pixels.at(torch.tensor([[0, 2]])).tolist()
        ([3], [[[0, 1], [1, 1]]])
    """

    def __init__(self, masks: Tensor) -> None:
        self.masks = masks
        # Sums of flags in int64 would copy all of them to int64 first.
        self._ends = masks.sum(2, dtype=torch.int32).cumsum(1)
        self.counts = self._ends[:, -1]

    def at(self, numbers: Tensor) -> Tensor:
        """Find pixels by their number.

        Args:
            numbers: (O, P) int64, from 0 to one less than the mask has pixels.

        Returns:
            (O, P, 2) int64 as (y, x); where there is no such pixel, some place in the frame.
        """
        count, height, width = self.masks.shape
        # The row first, and then the place in it: H + W comparisons a pixel, and not H * W.
        y = _first_beyond(self._ends[:, None], numbers).clamp(max=height - 1)
        rest = numbers - F.pad(self._ends, (1, 0)).gather(1, y)
        row = self.masks[torch.arange(count, device=y.device)[:, None], y]
        x = _first_beyond(row.cumsum(2), rest).clamp(max=width - 1)
        return torch.stack((y, x), dim=-1)


def even_numbers(counts: Tensor, size: int) -> Tensor:
    """Spread ``size`` numbers evenly over the pixels of each mask.

    Args:
        counts: (O,) int64, how many pixels each has.
        size: P.

    Returns:
        (O, P) int64, the middles of P parts of equal length.

    Example:
        >>> even_numbers(torch.tensor([8, 2]), 4).tolist()
        [[1, 3, 5, 7], [0, 0, 1, 1]]
    """
    middles = torch.arange(size, device=counts.device) * 2 + 1
    return middles * counts[:, None] // (2 * size)


def _first_beyond(ends: Tensor, numbers: Tensor) -> Tensor:
    """The first place along the last axis whose running count is above the number."""
    return (ends <= numbers[..., None]).sum(-1)
