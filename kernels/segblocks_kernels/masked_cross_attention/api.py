"""Masked cross-attention: the public function."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .._autocast import autocast
from .._backend import REFERENCE, Backends, planned_triton
from .._check import check_float, check_same_device, check_same_dtype, check_shape, check_tensor
from .reference import masked_cross_attention_reference

_OP = "masked_cross_attention"
BACKENDS = Backends(_OP, (planned_triton(_OP), REFERENCE))


def _check(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> None:
    check_float(_OP, q=q, k=k, v=v)
    check_same_dtype(_OP, q=q, k=k, v=v)
    check_shape(_OP, "q", q, "B Q M D", {})
    sizes = dict(zip("BQMD", q.shape, strict=True))
    check_shape(_OP, "k", k, "B N M D", sizes)
    sizes["N"] = k.shape[1]
    check_shape(_OP, "v", v, "B N M D", sizes)
    if mask is None:
        check_same_device(_OP, q=q, k=k, v=v)
        return
    if mask.dtype != torch.bool:
        check_float(_OP, **{"mask (bool or logits)": mask})
    check_shape(_OP, "mask", mask, "B Q N", sizes)
    check_same_device(_OP, q=q, k=k, v=v, mask=mask)


def masked_cross_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None,
    *,
    scale: float | None = None,
    backend: str = "auto",
) -> Tensor:
    """Attend from queries to the keys inside each query's mask.

    The masked attention of Mask2Former (Cheng et al. 2022, section 3.2.1), core only: projections
    are the caller's. All heads share the mask. A query whose mask is empty attends everywhere,
    as in the published code. No gradient flows through the mask. Under autocast q, k and v are
    cast first; the mask is compared as it comes.

    Args:
        q: queries (B, Q, M, D).
        k: keys (B, N, M, D).
        v: values (B, N, M, D).
        mask: (B, Q, N): bool, True where the query attends, or logits, attended where >= 0
            (a probability of at least one half). None attends everywhere.
        scale: what scores are multiplied with; 1/sqrt(D) by default.
        backend: "reference", or "auto", which asks SEGBLOCKS_BACKEND first. "triton" is reserved.

    Returns:
        (B, Q, M, D) in the type of q; zeros where there is no key at all (N = 0).

    Raises:
        ValueError: a wrong shape, type or device, or a backend that does not exist yet.

    Example:
        >>> q, k, v = torch.randn(1, 5, 8, 32), torch.randn(1, 60, 8, 32), torch.randn(1, 60, 8, 32)
        >>> masked_cross_attention(q, k, v, torch.randn(1, 5, 60)).shape
        torch.Size([1, 5, 8, 32])
    """
    check_tensor(_OP, q=q, k=k, v=v)
    if mask is not None:
        check_tensor(_OP, mask=mask)
    q, k, v = autocast(q, k, v)
    _check(q, k, v, mask)
    BACKENDS.resolve(BACKENDS.request(backend), q.device)
    if scale is None:
        scale = 1.0 / math.sqrt(max(q.shape[-1], 1))
    return masked_cross_attention_reference(q, k, v, mask, scale)
