"""The neck that aligns the features of a clip over scales and over time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from segblocks.nn.deformable_attention import DeformableEncoderLayer
from segblocks.nn.position import sine_position_2d, sine_position_3d
from segblocks.nn.shape_cache import SHARED
from segblocks.nn.temporal_attention import TemporalAttentionLayer

NORM_GROUPS = 32
TARVIS_CELLS = {32: 2, 16: 4, 8: 8}


class TemporalNeck(nn.Module):
    """Deformable attention inside frames and temporal attention inside cells, alternating.

    TarViS section 3.4. Without ``cells`` it is the pixel decoder of Mask2Former. The levels of
    ``strides`` pass the attention layers; finer backbone levels join by a feature pyramid down to
    ``mask_stride``, whose map is the mask features.

    Args:
        in_channels: channels of the backbone's map at each stride.
        embed_dim: C (256 in all published systems), a multiple of 32 for the group norms.
        strides: of the levels that attend, coarse to fine.
        mask_stride: of the mask features; all of its multiples down from ``strides[-1]`` by two
            must be in ``in_channels``.
        num_layers: of each kind (6).
        num_heads: M (8).
        num_points: points a head samples on each level (4).
        hidden_dim: of the feed-forward blocks (1024).
        cells: the side of a temporal cell at each stride, in pixels of that level; strides that
            are left out take no part, None switches temporal attention off. The default is the
            official code's; the paper's text leaves out stride 8.

    Raises:
        ValueError: a stride has no backbone channels, or a cell's stride is no level.

    Example:
        >>> neck = TemporalNeck({4: 8, 8: 8, 16: 8, 32: 8}, 32, num_layers=1, hidden_dim=32)
        >>> video = {s: torch.zeros(1, 2, 8, 64 // s, 128 // s) for s in (4, 8, 16, 32)}
        >>> {stride: tuple(level.shape) for stride, level in neck(video).items()}[4]
        (1, 2, 32, 16, 32)
    """

    def __init__(
        self,
        in_channels: Mapping[int, int],
        embed_dim: int = 256,
        *,
        strides: Sequence[int] = (32, 16, 8),
        mask_stride: int = 4,
        num_layers: int = 6,
        num_heads: int = 8,
        num_points: int = 4,
        hidden_dim: int = 1024,
        cells: Mapping[int, int] | None = TARVIS_CELLS,
    ) -> None:
        super().__init__()
        if embed_dim % NORM_GROUPS:
            raise ValueError(
                f"TemporalNeck: embed_dim must be a multiple of {NORM_GROUPS}, got {embed_dim}"
            )
        self.strides = tuple(strides)
        self.mask_stride = mask_stride
        self.lateral_strides = _halvings(self.strides[-1], mask_stride)
        self.cells = dict(cells) if cells else None
        _check_strides(in_channels, (*self.strides, *self.lateral_strides), self.cells or {})
        self.input_projections = nn.ModuleDict(
            {str(s): _projection(in_channels[s], embed_dim, bias=True) for s in self.strides}
        )
        self.level_embedding = nn.Parameter(torch.randn(len(self.strides), embed_dim))
        self.no_decay_names = ["level_embedding"]
        self.deformable_layers = nn.ModuleList(
            DeformableEncoderLayer(
                embed_dim,
                num_heads,
                num_levels=len(self.strides),
                num_points=num_points,
                hidden_dim=hidden_dim,
            )
            for _ in range(num_layers)
        )
        if self.cells:
            self.temporal_level_embedding = nn.Parameter(torch.randn(len(self.strides), embed_dim))
            self.no_decay_names.append("temporal_level_embedding")
            self.temporal_layers = nn.ModuleList(
                TemporalAttentionLayer(embed_dim, num_heads, hidden_dim=hidden_dim)
                for _ in range(num_layers)
            )
        self.laterals = nn.ModuleDict(
            {str(s): _projection(in_channels[s], embed_dim) for s in self.lateral_strides}
        )
        self.smoothers = nn.ModuleDict({str(s): _smoother(embed_dim) for s in self.lateral_strides})
        self.mask_projection = nn.Conv2d(embed_dim, embed_dim, 1)
        nn.init.kaiming_uniform_(self.mask_projection.weight, a=1)
        if self.mask_projection.bias is not None:
            nn.init.zeros_(self.mask_projection.bias)

    def forward(self, features: Mapping[int, Tensor]) -> dict[int, Tensor]:
        """Align a clip's features.

        Args:
            features: the backbone's pyramid, stride -> (B, T, C_s, H / s, W / s). Sizes need not
                be multiples of a cell: cells at the right and lower border are then smaller.

        Returns:
            stride -> (B, T, C, H / s, W / s) for ``strides`` and ``mask_stride``.

        Raises:
            ValueError: a stride is missing.
        """
        missing = [s for s in (*self.strides, *self.lateral_strides) if s not in features]
        if missing:
            raise ValueError(f"TemporalNeck: features lack strides {missing}, got {list(features)}")
        batch, frames = features[self.strides[0]].shape[:2]
        maps = [self.input_projections[str(s)](features[s].flatten(0, 1)) for s in self.strides]
        shapes = [(int(m.shape[-2]), int(m.shape[-1])) for m in maps]
        tokens = torch.cat([rearrange(m, "n c h w -> n (h w) c") for m in maps], dim=1)
        tokens = self._attend(tokens, shapes, batch, frames)
        outputs = self._split(tokens, shapes)
        outputs[self.mask_stride] = self._mask_features(outputs[self.strides[-1]], features)
        return {stride: m.unflatten(0, (batch, frames)) for stride, m in outputs.items()}

    def _attend(
        self, tokens: Tensor, shapes: list[tuple[int, int]], batch: int, frames: int
    ) -> Tensor:
        positions = self._frame_positions(shapes, tokens)
        if self.cells is None:
            for layer in self.deformable_layers:
                tokens = layer(tokens, positions, shapes)
            return tokens
        clip_positions = self._clip_positions(frames, shapes, tokens)
        cells = [self.cells.get(stride) for stride in self.strides]
        for deform, mix in zip(self.deformable_layers, self.temporal_layers, strict=True):
            tokens = deform(tokens, positions, shapes)
            clip = tokens.unflatten(0, (batch, frames))
            tokens = mix(clip, clip_positions, shapes, cells).flatten(0, 1)
        return tokens

    def _frame_positions(self, shapes: list[tuple[int, int]], like: Tensor) -> Tensor:
        dim = self.level_embedding.shape[1]
        levels = [
            SHARED.get(sine_position_2d, *shape, dim, **_at_least_float32(like)).flatten(0, 1)
            + embedding
            for shape, embedding in zip(shapes, self.level_embedding, strict=True)
        ]
        return torch.cat(levels).to(like.dtype)

    def _clip_positions(self, frames: int, shapes: list[tuple[int, int]], like: Tensor) -> Tensor:
        dim = self.level_embedding.shape[1]
        levels = [
            sine_position_3d(frames, *shape, dim, **_at_least_float32(like)).flatten(1, 2)
            + embedding
            for shape, embedding in zip(shapes, self.temporal_level_embedding, strict=True)
        ]
        return torch.cat(levels, dim=1).to(like.dtype)

    def _split(self, tokens: Tensor, shapes: list[tuple[int, int]]) -> dict[int, Tensor]:
        parts = tokens.split([height * width for height, width in shapes], dim=1)
        return {
            stride: rearrange(part, "n (h w) c -> n c h w", h=shape[0])
            for stride, part, shape in zip(self.strides, parts, shapes, strict=True)
        }

    def _mask_features(self, finest: Tensor, features: Mapping[int, Tensor]) -> Tensor:
        for stride in self.lateral_strides:
            lateral = self.laterals[str(stride)](features[stride].flatten(0, 1))
            above = F.interpolate(
                finest, size=lateral.shape[-2:], mode="bilinear", align_corners=False
            )
            finest = self.smoothers[str(stride)](lateral + above)
        return self.mask_projection(finest)


def _at_least_float32(like: Tensor) -> dict[str, Any]:
    return {"device": like.device, "dtype": torch.promote_types(like.dtype, torch.float32)}


def _projection(in_channels: int, embed_dim: int, *, bias: bool = False) -> nn.Sequential:
    conv = nn.Conv2d(in_channels, embed_dim, 1, bias=bias)
    if conv.bias is None:
        nn.init.kaiming_uniform_(conv.weight, a=1)
    else:
        nn.init.xavier_uniform_(conv.weight)
        nn.init.zeros_(conv.bias)
    return nn.Sequential(conv, nn.GroupNorm(NORM_GROUPS, embed_dim))


def _smoother(embed_dim: int) -> nn.Sequential:
    conv = nn.Conv2d(embed_dim, embed_dim, 3, padding=1, bias=False)
    nn.init.kaiming_uniform_(conv.weight, a=1)
    return nn.Sequential(conv, nn.GroupNorm(NORM_GROUPS, embed_dim), nn.ReLU())


def _halvings(start: int, end: int) -> tuple[int, ...]:
    """The strides below ``start`` down to ``end``, each half of the one before."""
    strides = []
    while start > end:
        start //= 2
        strides.append(start)
    if start != end:
        raise ValueError(f"TemporalNeck: mask_stride must be strides[-1] / 2**n, got {end}")
    return tuple(strides)


def _check_strides(
    in_channels: Mapping[int, int], needed: Sequence[int], cells: Mapping[int, int]
) -> None:
    missing = [stride for stride in needed if stride not in in_channels]
    if missing:
        raise ValueError(
            f"TemporalNeck: in_channels must name strides {tuple(needed)}, got "
            f"{tuple(in_channels)}, without {missing}"
        )
    strangers = [stride for stride in cells if stride not in needed]
    if strangers:
        raise ValueError(
            f"TemporalNeck: cells must lie on strides {tuple(needed)}, got {strangers}"
        )
