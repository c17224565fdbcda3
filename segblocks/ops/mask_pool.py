"""Mean of features under masks."""

from __future__ import annotations

import torch
from torch import Tensor

from segblocks_kernels._check import check_float, check_same_device


def mask_pool(features: Tensor, masks: Tensor) -> Tensor:
    """Average features over the pixels of each mask.

    Half-precision features are summed in float32.

    Args:
        features: (..., C, H, W), floating point.
        masks: (..., O, H, W), boolean; the leading dimensions broadcast with those of the
            features.

    Returns:
        (..., O, C), of the features' dtype; 0 where a mask is empty.

    Raises:
        ValueError: another dtype, a different (H, W), or different devices.

    Example:
        >>> features = torch.arange(8.0).reshape(2, 2, 2)
        >>> mask_pool(features, torch.tensor([[[True, True], [False, False]]]))
        tensor([[0.5000, 4.5000]])
    """
    check_float("mask_pool", features=features)
    check_same_device("mask_pool", features=features, masks=masks)
    if masks.dtype != torch.bool:
        raise ValueError(f"mask_pool: masks must be boolean, got {masks.dtype}")
    if features.dim() < 3 or masks.dim() < 3 or features.shape[-2:] != masks.shape[-2:]:
        raise ValueError(
            "mask_pool: features (..., C, H, W) and masks (..., O, H, W) must have the same "
            f"(H, W), got {tuple(features.shape)} and {tuple(masks.shape)}"
        )
    dtype = torch.promote_types(features.dtype, torch.float32)
    with torch.autocast(features.device.type, enabled=False):
        weights = masks.flatten(-2).to(dtype)
        summed = weights @ features.flatten(-2).to(dtype).mT
        mean = summed / weights.sum(-1, keepdim=True).clamp(min=1)
    return mean.to(features.dtype)
