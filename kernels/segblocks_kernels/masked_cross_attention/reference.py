"""The specification of masked cross-attention, on PyTorch's dense attention."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def attended(mask: Tensor) -> Tensor:
    """Which key each query attends to (B, Q, N): rows without any are opened, on the device."""
    keep = mask if mask.dtype == torch.bool else mask >= 0
    return keep | ~keep.any(dim=-1, keepdim=True)


def masked_cross_attention_reference(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, scale: float
) -> Tensor:
    """Attend where the mask says so; differentiable in q, k and v.

    Args:
        q: (B, Q, M, D).
        k: (B, N, M, D).
        v: (B, N, M, D).
        mask: (B, Q, N), bool or logits, or None.
        scale: what scores are multiplied with.

    Returns:
        (B, Q, M, D).
    """
    if k.shape[1] == 0:
        # Sums over nothing keep k and v in the graph.
        zeros = q.masked_fill(torch.ones((), dtype=torch.bool, device=q.device), 0.0)
        return zeros + k.sum(dim=1, keepdim=True) + v.sum(dim=1, keepdim=True)
    out = F.scaled_dot_product_attention(
        q.transpose(1, 2),
        k.transpose(1, 2),
        v.transpose(1, 2),
        attn_mask=None if mask is None else attended(mask).unsqueeze(1),
        scale=scale,
    )
    return out.transpose(1, 2)
