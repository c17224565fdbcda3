"""The projections of multi-head attention, around any attention function."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from segblocks.ops import masked_cross_attention

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]


def attend_everywhere(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Let every query attend to every key: q (B, Q, M, D), k and v (B, N, M, D)."""
    return masked_cross_attention(q, k, v, None)


class MultiheadAttention(nn.Module):
    """Multi-head attention whose attention function is an argument of the call.

    Masked, ragged, space-time and dense attention differ in who attends to whom, and share the
    four projections. Weights start as in ``torch.nn.MultiheadAttention``: the three input
    projections as one Xavier-uniform matrix, biases at zero.

    Args:
        embed_dim: C, a multiple of ``num_heads``.
        num_heads: M.

    Raises:
        ValueError: ``embed_dim`` is not a multiple of ``num_heads``.

    Example:
        >>> import torch
        >>> x = torch.zeros(2, 5, 16)
        >>> MultiheadAttention(16, 4)(x, x, x).shape
        torch.Size([2, 5, 16])
    """

    def __init__(self, embed_dim: int, num_heads: int) -> None:
        super().__init__()
        if embed_dim % num_heads:
            raise ValueError(
                f"MultiheadAttention: embed_dim must be a multiple of num_heads, got "
                f"embed_dim={embed_dim}, num_heads={num_heads}"
            )
        self.num_heads = num_heads
        self.query = nn.Linear(embed_dim, embed_dim)
        self.key = nn.Linear(embed_dim, embed_dim)
        self.value = nn.Linear(embed_dim, embed_dim)
        self.output = nn.Linear(embed_dim, embed_dim)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the weights anew."""
        packed_gain = 0.5**0.5  # Xavier of a (3C, C) matrix, seen from its (C, C) parts
        for part in (self.query, self.key, self.value):
            nn.init.xavier_uniform_(part.weight, gain=packed_gain)
        nn.init.xavier_uniform_(self.output.weight)
        for part in (self.query, self.key, self.value, self.output):
            nn.init.zeros_(part.bias)

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, attend: Attend = attend_everywhere
    ) -> Tensor:
        """Project, attend, and project back.

        Args:
            query: (..., C).
            key: (..., C).
            value: (..., C).
            attend: a function of the three projections, (..., M, D) each, that returns the
                attended values in the shape of the first.

        Returns:
            The shape of ``query``.
        """
        heads = (self.num_heads, -1)
        q = self.query(query).unflatten(-1, heads)
        k = self.key(key).unflatten(-1, heads)
        v = self.value(value).unflatten(-1, heads)
        return self.output(attend(q, k, v).flatten(-2))
