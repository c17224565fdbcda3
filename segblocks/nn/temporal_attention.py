"""Self-attention inside grid cells, over all frames and several scales."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from segblocks.nn.attention import MultiheadAttention
from segblocks.nn.mlp import FeedForwardBlock
from segblocks.ops import space_time_attention


class TemporalAttentionLayer(nn.Module):
    """Attention that is local in space and global in time, then a feed-forward block.

    TarViS section 3.4: a grid divides the frames into cells, and all tokens of a cell, of all
    frames and of all levels that take part, attend to each other. Post-norm, no dropout.

    Args:
        embed_dim: C.
        num_heads: M.
        hidden_dim: of the feed-forward block (1024 in TarViS).

    Example:
        >>> layer = TemporalAttentionLayer(16, 4, hidden_dim=32)
        >>> tokens, positions = torch.zeros(1, 3, 30, 16), torch.zeros(3, 30, 16)
        >>> layer(tokens, positions, [(2, 3), (4, 6)], [1, 2]).shape
        torch.Size([1, 3, 30, 16])
    """

    def __init__(self, embed_dim: int, num_heads: int = 8, *, hidden_dim: int = 1024) -> None:
        super().__init__()
        self.attention = MultiheadAttention(embed_dim, num_heads)
        self.norm = nn.LayerNorm(embed_dim)
        self.feed_forward = FeedForwardBlock(embed_dim, hidden_dim)

    def forward(
        self,
        tokens: Tensor,
        positions: Tensor,
        spatial_shapes: Sequence[tuple[int, int]],
        cell_sizes: Sequence[int | None],
    ) -> Tensor:
        """Refine the tokens of a clip.

        Args:
            tokens: (B, T, N, C), the flattened levels of each frame.
            positions: (T, N, C), added to queries and keys and not to the values.
            spatial_shapes: (height, width) of each level.
            cell_sizes: the side of a cell on each level, in its pixels; None leaves the level
                as it is (the paper leaves out stride 8, the official code does not).

        Returns:
            (B, T, N, C).
        """

        def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            return space_time_attention(q, k, v, spatial_shapes, cell_sizes)

        placed = tokens + positions
        attended = self.attention(placed, placed, tokens, attend)
        refined = self.feed_forward(self.norm(tokens + attended))
        if all(size is not None for size in cell_sizes):
            return refined
        takes_part = torch.cat(
            [
                torch.full((height * width, 1), size is not None, device=tokens.device)
                for (height, width), size in zip(spatial_shapes, cell_sizes, strict=True)
            ]
        )
        return torch.where(takes_part, refined, tokens)
