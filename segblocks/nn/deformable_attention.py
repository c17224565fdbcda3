"""Multi-scale deformable attention, and the encoder layer around it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from segblocks.nn.mlp import FeedForwardBlock
from segblocks.ops import ms_deform_attn_fused

Shapes = Sequence[tuple[int, int]]


class DeformableAttention(nn.Module):
    """Attention to a few learned points around each query, on several levels.

    Deformable DETR's module: offsets and weights are linear in the query; offsets count in pixels
    of the level that they sample. Offsets stay in float32 under autocast.

    Args:
        embed_dim: C, a multiple of ``num_heads``.
        num_heads: M (8 in all published systems).
        num_levels: L.
        num_points: P, the points a head samples on each level (4 in all published systems).

    Example:
        >>> module = DeformableAttention(16, 4, num_levels=2, num_points=2)
        >>> shapes = [(2, 3), (4, 6)]
        >>> tokens = torch.zeros(1, 30, 16)
        >>> module(tokens, None, tokens, shapes).shape
        torch.Size([1, 30, 16])
    """

    def __init__(
        self, embed_dim: int, num_heads: int = 8, *, num_levels: int = 3, num_points: int = 4
    ) -> None:
        super().__init__()
        self.points_shape = (num_heads, num_levels, num_points)
        num_samples = math.prod(self.points_shape)
        self.sampling_offsets = nn.Linear(embed_dim, 2 * num_samples)
        self.attention_weights = nn.Linear(embed_dim, num_samples)
        self.value = nn.Linear(embed_dim, embed_dim)
        self.output = nn.Linear(embed_dim, embed_dim)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Point each head in its own direction, with points at increasing distance."""
        num_heads, num_levels, num_points = self.points_shape
        angle = torch.arange(num_heads, dtype=torch.float32) * (2 * math.pi / num_heads)
        direction = torch.stack((angle.cos(), angle.sin()), dim=-1)
        direction = direction / direction.abs().amax(dim=-1, keepdim=True)
        distance = torch.arange(1, num_points + 1, dtype=torch.float32)
        offsets = direction[:, None, None] * distance[:, None]
        with torch.no_grad():
            self.sampling_offsets.bias.copy_(offsets.expand(-1, num_levels, -1, -1).flatten())
        nn.init.zeros_(self.sampling_offsets.weight)
        nn.init.zeros_(self.attention_weights.weight)
        nn.init.zeros_(self.attention_weights.bias)
        for linear in (self.value, self.output):
            nn.init.xavier_uniform_(linear.weight)
            nn.init.zeros_(linear.bias)

    def forward(
        self,
        query: Tensor,
        reference_points: Tensor | None,
        tokens: Tensor,
        spatial_shapes: Shapes,
    ) -> Tensor:
        """Sample the tokens around the reference points.

        Args:
            query: (B, Q, C).
            reference_points: (x, y) in [0, 1], the same on all levels (Q, 2) or (B, Q, 2), or for
                each level (B, Q, L, 2). None: the queries are the tokens, each at its own pixel.
            tokens: (B, N, C), the flattened levels.
            spatial_shapes: (height, width) of each of the L levels.

        Returns:
            (B, Q, C).
        """
        value = self.value(tokens).unflatten(-1, (self.points_shape[0], -1))
        logits = self.attention_weights(query).unflatten(-1, self.points_shape)
        offsets = self._offsets(query)
        return self.output(
            ms_deform_attn_fused(value, spatial_shapes, reference_points, offsets, logits)
        )

    def _offsets(self, query: Tensor) -> Tensor:
        with torch.autocast(query.device.type, enabled=False):
            linear = self.sampling_offsets
            dtype = torch.promote_types(query.dtype, torch.float32)
            offsets = nn.functional.linear(
                query.to(dtype), linear.weight.to(dtype), linear.bias.to(dtype)
            )
            return offsets.unflatten(-1, (*self.points_shape, 2))


class DeformableEncoderLayer(nn.Module):
    """Deformable self-attention over the levels of a frame, then a feed-forward block.

    Post-norm, no dropout, as in the pixel decoder of Mask2Former.

    Args:
        embed_dim: C.
        num_heads: M.
        num_levels: L.
        num_points: P.
        hidden_dim: of the feed-forward block (1024 in Mask2Former and TarViS).

    Example:
        >>> layer = DeformableEncoderLayer(16, 4, num_levels=2, hidden_dim=32)
        >>> shapes = [(2, 3), (4, 6)]
        >>> tokens = torch.zeros(1, 30, 16)
        >>> layer(tokens, torch.zeros(30, 16), shapes).shape
        torch.Size([1, 30, 16])
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int = 8,
        *,
        num_levels: int = 3,
        num_points: int = 4,
        hidden_dim: int = 1024,
    ) -> None:
        super().__init__()
        self.attention = DeformableAttention(
            embed_dim, num_heads, num_levels=num_levels, num_points=num_points
        )
        self.norm = nn.LayerNorm(embed_dim)
        self.feed_forward = FeedForwardBlock(embed_dim, hidden_dim)

    def forward(
        self,
        tokens: Tensor,
        positions: Tensor,
        spatial_shapes: Shapes,
    ) -> Tensor:
        """Refine the tokens of each frame.

        Args:
            tokens: (B, N, C), one row a frame.
            positions: (N, C), added to the queries and not to the values.
            spatial_shapes: (height, width) of each level.

        Returns:
            (B, N, C).
        """
        attended = self.attention(tokens + positions, None, tokens, spatial_shapes)
        return self.feed_forward(self.norm(tokens + attended))
