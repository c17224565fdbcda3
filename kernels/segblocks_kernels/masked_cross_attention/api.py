"""Masked cross-attention: the public function."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .._autocast import autocast
from .._check import check_float, check_same_device, check_same_dtype, check_shape, check_tensor
from .mask import MaskFromFeatures
from .op import BACKENDS, OP, choose, forward_op, triton_refuses
from .reference import attended, masked_cross_attention_reference


def _check_attention(q: Tensor, k: Tensor, v: Tensor) -> dict[str, int]:
    check_float(OP, q=q, k=k, v=v)
    check_same_dtype(OP, q=q, k=k, v=v)
    check_shape(OP, "q", q, "B Q M D", {})
    sizes = dict(zip("BQMD", q.shape, strict=True))
    check_shape(OP, "k", k, "B N M D", sizes)
    sizes["N"] = k.shape[1]
    check_shape(OP, "v", v, "B N M D", sizes)
    check_same_device(OP, q=q, k=k, v=v)
    return sizes


def _split_mask(
    q: Tensor, mask: Tensor | MaskFromFeatures | None, sizes: dict[str, int]
) -> tuple[Tensor | None, Tensor | None]:
    """The mask, or its embeddings and features, checked and without gradient."""
    if mask is None:
        return None, None
    if isinstance(mask, MaskFromFeatures):
        pair = dict(zip(("mask.embeddings", "mask.features"), mask, strict=True))
        check_tensor(OP, **pair)
        embeddings, features = autocast(*(x.detach() for x in mask))
        pair = {"mask.embeddings": embeddings, "mask.features": features}
        check_float(OP, **pair)
        check_same_dtype(OP, **pair)
        check_same_device(OP, q=q, **pair)
        check_shape(OP, "mask.embeddings", embeddings, "B Q C", sizes)
        channels = {"C": embeddings.shape[2]}
        check_shape(OP, "mask.features", features, "B N C", sizes | channels)
        return embeddings, features
    check_tensor(OP, **{"mask (or a MaskFromFeatures)": mask})
    if mask.dtype != torch.bool:
        check_float(OP, **{"mask (bool or logits)": mask})
    check_shape(OP, "mask", mask, "B Q N", sizes)
    check_same_device(OP, q=q, mask=mask)
    return mask.detach(), None


def _check_bias(
    q: Tensor, bias: Tensor | None, bias_scale: Tensor | None, sizes: dict[str, int]
) -> Tensor | None:
    """The factor of each head, ones where none came with the bias."""
    if bias is None:
        if bias_scale is not None:
            raise ValueError(f"{OP}: bias_scale must come with a bias, got bias=None")
        return None
    check_tensor(OP, bias=bias)
    check_float(OP, bias=bias)
    check_shape(OP, "bias", bias, "B Q N", sizes)
    check_same_device(OP, q=q, bias=bias)
    if bias_scale is None:
        return torch.ones(sizes["M"], dtype=torch.float32, device=q.device)
    check_tensor(OP, bias_scale=bias_scale)
    check_float(OP, bias_scale=bias_scale)
    check_shape(OP, "bias_scale", bias_scale, "M", sizes)
    check_same_device(OP, q=q, bias_scale=bias_scale)
    return bias_scale


def masked_cross_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | MaskFromFeatures | None,
    *,
    bias: Tensor | None = None,
    bias_scale: Tensor | None = None,
    scale: float | None = None,
    backend: str = "auto",
) -> Tensor:
    """Attend from queries to the keys inside each query's mask.

    The masked attention of Mask2Former (Cheng et al. 2022, section 3.2.1), core only: projections
    are the caller's. All heads share the mask. A query whose mask is empty attends everywhere,
    as in the published code. No gradient flows through the mask. A bias gives the soft variant of
    TarViS' code: the probability that a key is inside, times a factor of each head, is added to
    the scores. The Triton backend is deterministic. Under autocast q, k and v are cast first, and
    so is a ``MaskFromFeatures``, being a product; a mask is compared and a bias added as it comes.

    Args:
        q: queries (B, Q, M, D).
        k: keys (B, N, M, D).
        v: values (B, N, M, D).
        mask: (B, Q, N): bool, True where the query attends, or logits, attended where >= 0
            (a probability of at least one half). A ``MaskFromFeatures(embeddings, features)``
            stands for the logits ``embeddings @ features.mT``, which Triton then never writes to
            memory; backends round this product differently, which may decide logits that are
            almost zero. None attends everywhere.
        bias: (B, Q, N), added to the scaled scores; None adds nothing.
        bias_scale: (M,), what each head multiplies the bias with; 1 by default.
        scale: what products of queries and keys are multiplied with; 1/sqrt(D) by default.
        backend: "triton" (float32 and half types, D <= 256), "reference", or "auto", which asks
            SEGBLOCKS_BACKEND and then takes the fastest that runs: without mask and bias that is
            the reference, which PyTorch's flash attention serves.

    Returns:
        (B, Q, M, D) in the type of q; zeros where there is no key at all (N = 0).

    Raises:
        ValueError: a wrong shape, type or device, or an explicit backend that cannot run.

    Example:
        >>> q, k, v = torch.randn(1, 5, 8, 32), torch.randn(1, 60, 8, 32), torch.randn(1, 60, 8, 32)
        >>> masked_cross_attention(q, k, v, torch.randn(1, 5, 60)).shape
        torch.Size([1, 5, 8, 32])
        >>> mask = MaskFromFeatures(torch.randn(1, 5, 256), torch.randn(1, 60, 256))
        >>> masked_cross_attention(q, k, v, mask).shape
        torch.Size([1, 5, 8, 32])
        >>> soft, factors = torch.rand(1, 5, 60), torch.tensor([32.0, 32, 16, 16, 8, 8, 4, 4])
        >>> masked_cross_attention(q, k, v, None, bias=soft, bias_scale=factors).shape
        torch.Size([1, 5, 8, 32])
    """
    check_tensor(OP, q=q, k=k, v=v)
    q, k, v = autocast(q, k, v)
    sizes = _check_attention(q, k, v)
    decision, features = _split_mask(q, mask, sizes)
    bias_scale = _check_bias(q, bias, bias_scale, sizes)
    request = BACKENDS.request(backend)
    if request == "triton" and (reason := triton_refuses(q)):
        raise ValueError(f"{OP}: backend 'triton' cannot run: {reason}")
    if scale is None:
        scale = 1.0 / math.sqrt(max(q.shape[-1], 1))
    # An exported program keeps the operator, and with it the choice. Elsewhere the reference goes
    # without: PyTorch then differentiates its own attention faster, and compilers see through it.
    if choose(request, q, decision, bias) == "reference" and not torch.compiler.is_exporting():
        keep = None if decision is None else attended(decision, features)
        return masked_cross_attention_reference(q, k, v, keep, bias, bias_scale, scale)
    return forward_op(q, k, v, decision, features, bias, bias_scale, scale, request)[0]
