"""What a frozen backbone sees of a frame, for comparing pixels across frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from segblocks.nn.backbone import TimmBackbone
from segblocks.ops import describe_cells
from segblocks.training.initial import load_backbone

STRIDE = 8
STRIDES = (2, 4, 8, 16)


class FrozenBackbone:
    """Compute the levels of EfficientNet-Lite0 with its ImageNet weights, never trained on video.

    Args:
        strides: levels to compute, of ``STRIDES``.
    """

    def __init__(self, strides: Sequence[int] = STRIDES) -> None:
        self._net = TimmBackbone("tf_efficientnet_lite0", strides=strides).eval()
        load_backbone(self._net, "efficientnet_lite0")

    @torch.inference_mode()
    def __call__(self, frame: NDArray[np.uint8]) -> dict[int, Tensor]:
        """Return stride -> (C, h, w) of a frame (H, W, 3)."""
        # Whole cells of stride 16, so that all levels lie on each other.
        pixels = torch.tensor(frame).permute(2, 0, 1)[None].float()
        padding = (0, -frame.shape[1] % 16, 0, -frame.shape[0] % 16)
        pixels = (F.pad(pixels, padding, mode="replicate") - 127) / 128
        return {stride: level[0, 0] for stride, level in self._net(pixels[None]).items()}


def cells_of(levels: Mapping[int, Tensor], strides: Sequence[int]) -> Tensor:
    """Put levels together at stride 8, each of unit length in each cell, (C, h, w).

    Args:
        levels: of `FrozenBackbone`.
        strides: which of them.
    """
    height, width = levels[STRIDE].shape[-2:]
    return describe_cells([levels[stride][None] for stride in strides], (height, width))[0]
