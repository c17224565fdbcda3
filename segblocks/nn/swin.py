"""The order of operations of the official Swin Transformer, on timm's modules.

timm rolls a map before it pads it to whole windows, and may shrink windows to small maps; the
released video segmentation weights were trained with the official order: pad, roll, partition,
attend, reverse, roll back, crop. The two agree only where the map is a multiple of the window.

This module imports timm, and is therefore imported by :mod:`segblocks.nn.backbone` when needed.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from timm.models.swin_transformer import (
    SwinTransformerBlock,
    window_partition,
    window_reverse,
)
from torch import Tensor, nn

BLOCKED = -100.0


class OfficialSwinBlock(SwinTransformerBlock):
    """Attend within (shifted) windows of a map that is padded before it is rolled.

    "Swin Transformer: Hierarchical Vision Transformer using Shifted Windows", section 3.2. The
    zeros of the padding take part as keys, as in the official code. All but the order is timm's.
    """

    def _attn(self, x: Tensor) -> Tensor:
        _, height, width, channels = x.shape
        window, shift = self.window_size, self.shift_size
        x = F.pad(x, (0, 0, 0, -width % window[1], 0, -height % window[0]))
        padded_height, padded_width = x.shape[1:3]
        shifted = any(shift)
        mask = None
        if shifted:
            x = torch.roll(x, shifts=(-shift[0], -shift[1]), dims=(1, 2))
            mask = shifted_window_mask(
                (padded_height, padded_width), window, shift, device=x.device, dtype=x.dtype
            )
        windows = window_partition(x, window).flatten(1, 2)
        windows = self.attn(windows, mask=mask).unflatten(1, window)
        x = window_reverse(windows, window, padded_height, padded_width)
        if shifted:
            x = torch.roll(x, shifts=shift, dims=(1, 2))
        return x[:, :height, :width].reshape(-1, height, width, channels)


def shifted_window_mask(
    size: tuple[int, int],
    window: tuple[int, int],
    shift: tuple[int, int],
    *,
    device: torch.device | None = None,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """Make the additive mask that separates tokens which only the roll made neighbours.

    Args:
        size: Height and width of the padded map, multiples of the window.
        window: Height and width of a window.
        shift: By how much the map was rolled up and left, less than the window.
        device: Of the mask.
        dtype: Of the mask.

    Returns:
        (windows, tokens of a window, tokens of a window): 0, or -100 between different regions.
    """
    rows, columns = (
        _region(length, cell, step, device)
        for length, cell, step in zip(size, window, shift, strict=True)
    )
    regions = window_partition((3 * rows[:, None] + columns)[None, :, :, None], window).flatten(1)
    apart = regions[:, :, None] != regions[:, None, :]
    return torch.zeros(apart.shape, device=device, dtype=dtype).masked_fill(apart, BLOCKED)


def _region(length: int, window: int, shift: int, device: torch.device | None) -> Tensor:
    position = torch.arange(length, device=device)
    return (position >= length - window).long() + (position >= length - shift).long()


def use_official_order(model: nn.Module) -> None:
    """Turn every Swin block of a timm model into :class:`OfficialSwinBlock`, and pad odd images.

    Args:
        model: A timm Swin Transformer made with ``always_partition=True, strict_img_size=False``.
            Weights and their names stay as they are.
    """
    for module in model.modules():
        if type(module) is SwinTransformerBlock:
            module.__class__ = OfficialSwinBlock
    patch_embed = model.get_submodule("patch_embed")
    patch_embed.dynamic_img_pad = True  # type: ignore[assignment]
