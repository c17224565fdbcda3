"""Linking the instances of one clip with those of the clip before."""

from __future__ import annotations

import scipy  # its parts are imported when they are used
from torch import Tensor

from segblocks.ops.mask_iou import mask_iou


def link_masks(
    previous: Tensor, current: Tensor, *, min_iou: float = 0.5, link_empty: bool = False
) -> list[int | None]:
    """Find for each mask the one of the clip before that shows the same instance.

    The assignment maximises the sum of IoU = (I + 1) / (U + 1) over the shared frames, and pairs at
    or below ``min_iou`` are given up (TarViS section 3.5; the smoothing is the official code's).
    Classes play no part.

    Args:
        previous: (A, T, h, w) bool, on the frames that both clips have.
        current: (B, T, h, w) bool.
        min_iou: linked pairs have more.
        link_empty: whether two masks without a pixel may be linked. By their formula they have an
            IoU of 1, and the official code does link them; yet an instance that has left is no
            evidence of one that is still to enter.

    Returns:
        B indices into ``previous``, None for a new instance.

    Example:
        >>> import torch
        >>> a = torch.zeros(2, 1, 4, 4, dtype=torch.bool)
        >>> a[0, :, :2], a[1, :, 2:] = True, True
        >>> link_masks(a, a.flip(0))
        [1, 0]
    """
    iou = mask_iou(previous, current, smooth=1.0).cpu().numpy()
    if not link_empty:
        has_pixels = [masks.flatten(1).any(dim=1).cpu().numpy() for masks in (previous, current)]
        iou = iou * (has_pixels[0][:, None] & has_pixels[1][None])
    links: list[int | None] = [None] * len(current)
    for a, b in zip(*scipy.optimize.linear_sum_assignment(iou, maximize=True), strict=True):
        if iou[a, b] > min_iou:
            links[b] = int(a)
    return links
