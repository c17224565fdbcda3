"""Resizing of mask features and mask logits."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def resize_features(features: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize mask features so that inner products with them are resized mask logits.

    Bilinear resizing and the inner product are both linear, hence
    ``resize(<q, F>) == <q, resize(F)>``: one small map a level replaces a full-resolution logit
    map a layer. For the ratios 2, 4 and 8 this is the mean of the 2x2 centre pixels of each cell.

    Args:
        features: (B, T, C, h, w).
        size: (height, width) of the result.

    Returns:
        (B, T, C, height, width).

    Example:
        >>> import torch
        >>> resize_features(torch.zeros(1, 2, 8, 16, 24), (2, 3)).shape
        torch.Size([1, 2, 8, 2, 3])
    """
    frames = features.flatten(0, 1)
    resized = F.interpolate(frames, size=size, mode="bilinear", align_corners=False)
    return resized.reshape(*features.shape[:3], *size)


def resize_logits(
    logits: Tensor, model_size: tuple[int, int], size: tuple[int, int], *, stride: int = 4
) -> Tensor:
    """Bring mask logits of a padded clip to the resolution of the video.

    They are enlarged to the padded clip, cut to the frames that the model saw, and resized to the
    frames of the video; bilinear without aligned corners, in this order (the order of the
    official TarViS and Mask2Former code, on logits and not on probabilities).

    Args:
        logits: (N, h, w) at ``stride`` of the padded clip.
        model_size: (height, width) of the clip's frames before padding.
        size: (height, width) of the video.
        stride: of ``logits``.

    Returns:
        (N, height, width), the dtype of ``logits``.

    Example:
        >>> import torch
        >>> resize_logits(torch.zeros(5, 16, 16), (60, 64), (120, 128)).shape
        torch.Size([5, 120, 128])
    """
    padded = (logits.shape[-2] * stride, logits.shape[-1] * stride)
    full = F.interpolate(logits[None], size=padded, mode="bilinear", align_corners=False)
    full = full[..., : model_size[0], : model_size[1]]
    if size != model_size:
        full = F.interpolate(full, size=size, mode="bilinear", align_corners=False)
    return full[0]
