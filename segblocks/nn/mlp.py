"""Multi-layer perceptrons and the residual feed-forward block."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn


def mlp(*dims: int) -> nn.Sequential:
    """Build linear layers of the given widths with ReLU between them.

    Args:
        dims: input width, hidden widths, output width.

    Example:
        >>> import torch
        >>> mlp(4, 8, 2)(torch.zeros(3, 4)).shape
        torch.Size([3, 2])
    """
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(dims):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


class FeedForwardBlock(nn.Module):
    """Two linear layers with ReLU between them, a residual, and the norm after it.

    Args:
        embed_dim: C.
        hidden_dim: width between the layers (Mask2Former: 2048 in the decoder, 1024 in the
            pixel decoder).

    Example:
        >>> import torch
        >>> FeedForwardBlock(8, 16)(torch.zeros(2, 5, 8)).shape
        torch.Size([2, 5, 8])
    """

    def __init__(self, embed_dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.layers = mlp(embed_dim, hidden_dim, embed_dim)
        self.norm = nn.LayerNorm(embed_dim)
        for weight in (p for p in self.layers.parameters() if p.dim() > 1):
            nn.init.xavier_uniform_(weight)

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., C) to (..., C)."""
        return self.norm(x + self.layers(x))
