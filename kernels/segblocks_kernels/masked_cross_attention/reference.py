"""The specification of masked cross-attention, on PyTorch's dense attention."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def inside(mask: Tensor, features: Tensor | None = None) -> Tensor:
    """Which key each query attends to (B, Q, N), as the mask has it.

    Args:
        mask: (B, Q, N), bool or logits; with ``features`` mask embeddings (B, Q, C).
        features: (B, N, C); the logits are then the product of the two.
    """
    if features is not None:
        mask = mask @ features.mT
    return mask if mask.dtype == torch.bool else mask >= 0


def attended(mask: Tensor, features: Tensor | None = None) -> Tensor:
    """Like ``inside``, with rows that have no key opened, on the device."""
    keep = inside(mask, features)
    return keep | ~keep.any(dim=-1, keepdim=True)


def nothing_to_do(q: Tensor, k: Tensor) -> bool:
    """Whether there is no key, or no number to compute."""
    return k.shape[1] == 0 or q.numel() == 0


def masked_cross_attention_reference(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    keep: Tensor | None,
    bias: Tensor | None,
    bias_scale: Tensor | None,
    scale: float,
) -> Tensor:
    """Attend where ``keep`` says so; differentiable in q, k, v, bias and bias_scale.

    Args:
        q: (B, Q, M, D).
        k: (B, N, M, D).
        v: (B, N, M, D).
        keep: bool (B, Q, N) with a True in each row, or None for all.
        bias: (B, Q, N), or None.
        bias_scale: (M,) where there is a bias.
        scale: what products are multiplied with.

    Returns:
        (B, Q, M, D).
    """
    if nothing_to_do(q, k):
        return _zeros_with_gradients(q, k, v, bias, bias_scale)
    mask = None if keep is None else keep.unsqueeze(1)
    dtype = q.dtype
    if bias is not None and bias_scale is not None:
        # A bias of 32 in half precision would be off by more than the products are.
        q, k, v = (_at_least_single(x) for x in (q, k, v))
        mask = _scaled_bias(bias, bias_scale, mask).to(q.dtype)
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale)
    return out.transpose(1, 2).to(dtype)


def _at_least_single(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _scaled_bias(bias: Tensor, bias_scale: Tensor, keep: Tensor | None) -> Tensor:
    """What is added to the scores (B, M, Q, N): minus infinity where no attention is paid."""
    scaled = _at_least_single(bias).unsqueeze(1) * _at_least_single(bias_scale)[:, None, None]
    return scaled if keep is None else scaled.masked_fill(~keep, -torch.inf)


def _zeros_with_gradients(
    q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, bias_scale: Tensor | None
) -> Tensor:
    # Sums over nothing keep every input in the graph.
    zeros = q.masked_fill(torch.ones((), dtype=torch.bool, device=q.device), 0.0)
    zeros = zeros + k[:, :0].sum(dim=1, keepdim=True) + v[:, :0].sum(dim=1, keepdim=True)
    if bias is not None and bias_scale is not None:
        rows = bias[..., :0].sum(dim=-1)[:, :, None] * bias_scale
        zeros = zeros + rows[..., None].to(q.dtype)
    return zeros


def masked_cross_attention_backward_reference(
    grad_out: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    keep: Tensor | None,
    bias: Tensor | None,
    bias_scale: Tensor | None,
    out: Tensor,
    scale: float,
    needs: Sequence[bool],
) -> list[Tensor | None]:
    """The gradients of q, k, v, bias and bias_scale that ``needs`` asks for.

    The README has the formulae.
    """
    sources = (q, k, v, bias, bias_scale)
    if nothing_to_do(q, k):
        return [
            torch.zeros_like(x, memory_format=torch.contiguous_format)
            if needed and x is not None
            else None
            for x, needed in zip(sources, needs, strict=True)
        ]
    q, k, v, out, grad_out = (_at_least_single(x.transpose(1, 2)) for x in (q, k, v, out, grad_out))
    scores = q @ k.mT * scale
    if bias is not None and bias_scale is not None:
        scores = scores + _scaled_bias(bias, bias_scale, None).to(scores.dtype)
    if keep is not None:
        scores = scores.masked_fill(~keep.unsqueeze(1), -torch.inf)
    weights = scores.softmax(-1)
    if bias is not None:
        # It may leave a row no key at all, of which the softmax is NaN.
        weights = weights.masked_fill(scores == -torch.inf, 0.0)
    grads: list[Tensor | None] = [None] * len(sources)
    if needs[2]:
        grads[2] = (weights.mT @ grad_out).transpose(1, 2)
    if needs[0] or needs[1] or needs[3] or needs[4]:
        delta = (grad_out * out).sum(-1, keepdim=True)
        grad_scores = weights * (grad_out @ v.mT - delta)
        grads[0] = (grad_scores @ k * scale).transpose(1, 2) if needs[0] else None
        grads[1] = (grad_scores.mT @ q * scale).transpose(1, 2) if needs[1] else None
        if bias is not None and bias_scale is not None:
            added, factors = (x.to(grad_scores.dtype) for x in (bias, bias_scale))
            grads[3] = torch.einsum("bmqn,m->bqn", grad_scores, factors) if needs[3] else None
            grads[4] = torch.einsum("bmqn,bqn->m", grad_scores, added) if needs[4] else None
    return [
        None if grad is None or x is None else grad.to(x.dtype).contiguous()
        for grad, x in zip(grads, sources, strict=True)
    ]
