"""Image backbones of timm as feature pyramids of video clips."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from segblocks.nn.frozen_batch_norm import freeze_batch_norm

SWIN_VARIANTS = {
    "swin_tiny": "swin_tiny_patch4_window7_224",
    "swin_base": "swin_base_patch4_window12_384",
    "swin_large": "swin_large_patch4_window12_384",
}


class TimmBackbone(nn.Module):
    """Turn frames into a feature pyramid with an image backbone of timm.

    Frames are folded into the batch. ``resnet50`` equals the network of detectron2 (stride in the
    3x3 convolution). Swin Transformers follow the official order of padding and shifting at any
    input size, see :mod:`segblocks.nn.swin`, which released segmentation weights need.

    Args:
        name: ``resnet50``, ``swin_tiny``, ``swin_base``, ``swin_large`` (windows 7, 12, 12), or
            any timm model that has ``features_only``.
        strides: The levels wanted, in input pixels.
        pretrained: Load timm's ImageNet weights, which may download them.
        frozen_batch_norm: Make statistics and affine parameters of every batch norm constants, as
            usual in detection (nothing of them is then trained or updated).
        output_norms: Add a LayerNorm over the channels of each level, as the official Swin
            backbones for dense tasks have.
        drop_path: Stochastic depth of the last block, growing linearly from 0 (the papers of the
            zoo train Swin with 0.3).

    Attributes:
        channels: Stride to number of channels.

    Raises:
        ValueError: For an unknown name, with the close ones, or a stride that the model lacks.

    Example:
        >>> backbone = TimmBackbone("resnet18", strides=(8, 16))
        >>> pyramid = backbone(torch.zeros(1, 2, 3, 64, 64))
        >>> {stride: tuple(level.shape) for stride, level in pyramid.items()}
        {8: (1, 2, 128, 8, 8), 16: (1, 2, 256, 4, 4)}
    """

    channels: dict[int, int]

    def __init__(
        self,
        name: str,
        *,
        strides: Sequence[int] = (4, 8, 16, 32),
        pretrained: bool = False,
        frozen_batch_norm: bool = False,
        output_norms: bool = False,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        self.name = name
        self.strides = tuple(sorted(strides))
        timm_name = SWIN_VARIANTS.get(name, name)
        options = _model_options(timm_name, drop_path)
        indices = _level_indices(timm_name, self.strides, options)
        net = _create(timm_name, pretrained=pretrained, out_indices=indices, **options)
        if _is_swin(timm_name):
            from segblocks.nn.swin import use_official_order

            use_official_order(net)
        self.channels = dict(zip(self.strides, net.feature_info.channels(), strict=True))
        self._channels_last = getattr(net, "output_fmt", "NCHW") == "NHWC"
        if frozen_batch_norm:
            freeze_batch_norm(net)
        self.net = net
        self.norms = nn.ModuleDict(
            {str(s): nn.LayerNorm(c) for s, c in self.channels.items()} if output_norms else {}
        )

    def forward(self, frames: Tensor) -> dict[int, Tensor]:
        """Return the levels of each frame.

        Args:
            frames: (B, T, 3, H, W), normalised, floating.

        Returns:
            Stride to (B, T, C, h, w), contiguous; h and w are H and W over the stride, rounded up
            by ResNet and Swin; other networks may round down or ask for multiples.
        """
        if frames.ndim != 5 or frames.shape[2] != 3:
            raise ValueError(
                f"TimmBackbone: frames must have shape (B, T, 3, H, W), got {tuple(frames.shape)}"
            )
        if not frames.is_floating_point():
            raise ValueError(
                f"TimmBackbone: frames must be normalised floating values, got {frames.dtype}"
            )
        levels = self.net(frames.flatten(0, 1))
        return {
            stride: self._finish(level, stride).unflatten(0, frames.shape[:2])
            for stride, level in zip(self.strides, levels, strict=True)
        }

    def _finish(self, level: Tensor, stride: int) -> Tensor:
        if self.norms:
            if not self._channels_last:
                level = level.permute(0, 2, 3, 1)
            return self.norms[str(stride)](level).permute(0, 3, 1, 2).contiguous()
        return level.permute(0, 3, 1, 2).contiguous() if self._channels_last else level


def _is_swin(timm_name: str) -> bool:
    return timm_name.startswith("swin_")


def _model_options(timm_name: str, drop_path: float) -> dict[str, Any]:
    if _is_swin(timm_name):
        return {"drop_path_rate": drop_path, "always_partition": True, "strict_img_size": False}
    return {"drop_path_rate": drop_path} if drop_path else {}


def _create(timm_name: str, *, pretrained: bool = False, **options: Any) -> Any:
    import timm

    return timm.create_model(timm_name, pretrained=pretrained, features_only=True, **options)


def _level_indices(
    timm_name: str, strides: Sequence[int], options: dict[str, Any]
) -> tuple[int, ...]:
    """Where timm lists the levels of ``strides``, read off a copy without memory."""
    import timm

    if not timm.is_model(timm_name):
        known = [*SWIN_VARIANTS, *timm.list_models()]
        close = difflib.get_close_matches(timm_name, known, n=5, cutoff=0.5)
        hint = f"; close: {', '.join(close)}" if close else "; see timm.list_models()"
        raise ValueError(f"TimmBackbone: unknown backbone {timm_name!r}{hint}")
    with torch.device("meta"):
        reductions = _create(timm_name, **options).feature_info.reduction()
    missing = [stride for stride in strides if stride not in reductions]
    if missing or not strides or len(set(strides)) != len(strides):
        raise ValueError(
            f"TimmBackbone: {timm_name} has levels of stride {sorted(set(reductions))}, each to be "
            f"asked for at most once, got strides {tuple(strides)}"
        )
    # Of levels with equal strides the deepest has seen most of the network.
    return tuple(len(reductions) - 1 - reductions[::-1].index(stride) for stride in strides)
