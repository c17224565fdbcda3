"""Words that look at the image before they become prompts."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from segblocks.nn.attention import MultiheadAttention
from segblocks.nn.decoder import Level


class LanguageToImageAttention(nn.Module):
    """Let text tokens attend to all pixels of all levels, frame by frame; residual and norm follow.

    UniVS section 3.2. No positions take part, neither of words nor of pixels.

    Args:
        embed_dim: C.
        num_heads: M.

    Example:
        >>> level = Level(torch.zeros(1, 2, 6, 8), torch.zeros(2, 6, 8), torch.zeros(1, 2, 6, 8))
        >>> LanguageToImageAttention(8, 2)(torch.randn(1, 3, 8), [level]).shape
        torch.Size([1, 3, 2, 8])
    """

    def __init__(self, embed_dim: int, num_heads: int = 8) -> None:
        super().__init__()
        self.attention = MultiheadAttention(embed_dim, num_heads)
        self.norm = nn.LayerNorm(embed_dim)

    def forward(self, tokens: Tensor, levels: Sequence[Level]) -> Tensor:
        """Refine text tokens by the frames.

        Args:
            tokens: (B, N, C), the same for all frames, or (B, N, T, C).
            levels: of the clip, coarse to fine.

        Returns:
            (B, N, T, C).
        """
        words, pixels = _fold(tokens, levels)
        refined = self.norm(words + self.attention(words, pixels, pixels))
        return refined.unflatten(0, levels[0].tokens.shape[:2]).transpose(1, 2)

    def weights(self, tokens: Tensor, levels: Sequence[Level]) -> tuple[Tensor, ...]:
        """Return where the tokens look, to show it.

        Args:
            tokens: as for the call.
            levels: as for the call.

        Returns:
            A map (B, N, T, h * w) a level: the mean over heads, divided by the greatest weight that
            the token has on any level of the frame.
        """
        words, pixels = _fold(tokens, levels)
        heads = (self.attention.num_heads, -1)
        q = self.attention.query(words).unflatten(-1, heads)
        k = self.attention.key(pixels).unflatten(-1, heads)
        logits = torch.einsum("bnmd,bsmd->bmns", q * q.shape[-1] ** -0.5, k)
        mean = logits.float().softmax(-1).mean(1)
        scaled = mean / mean.amax(-1, keepdim=True).clamp(min=1e-6)
        scaled = scaled.unflatten(0, levels[0].tokens.shape[:2]).transpose(1, 2)
        return scaled.split([level.tokens.shape[2] for level in levels], dim=-1)


def _fold(tokens: Tensor, levels: Sequence[Level]) -> tuple[Tensor, Tensor]:
    """Frames into the batch: words (B * T, N, C) and pixels (B * T, S, C)."""
    pixels = torch.cat([level.tokens for level in levels], dim=2)
    if tokens.dim() == 3:
        tokens = tokens[:, :, None].expand(-1, -1, pixels.shape[1], -1)
    return tokens.transpose(1, 2).flatten(0, 1), pixels.flatten(0, 1)
