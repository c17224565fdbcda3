"""Ragged cross-attention: the public function."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .._autocast import autocast
from .._check import check_float, check_same_device, check_same_dtype, check_shape, check_tensor
from .op import BACKENDS, forward_op, refuses
from .op import OP as _OP
from .xformers import ragged_cross_attention_xformers


def _check(
    q: Tensor, k: Tensor, v: Tensor, indices: Tensor, offsets: Tensor, bias: Tensor | None
) -> None:
    check_float(_OP, q=q, k=k, v=v)
    check_same_dtype(_OP, q=q, k=k, v=v)
    check_shape(_OP, "q", q, "R M D", {})
    sizes = dict(zip("RMD", q.shape, strict=True))
    check_shape(_OP, "k", k, "N M D", sizes)
    check_shape(_OP, "v", v, "N M D", sizes | {"N": k.shape[0]})
    for name, tensor in (("indices", indices), ("offsets", offsets)):
        if tensor.dtype != torch.int64:
            raise ValueError(f"{_OP}: {name} must be int64, got {tensor.dtype}")
    check_shape(_OP, "indices", indices, "E", {})
    check_shape(_OP, "offsets", offsets, "R+1", {"R+1": q.shape[0] + 1})
    check_same_device(_OP, q=q, k=k, v=v, indices=indices, offsets=offsets)
    if bias is not None:
        check_float(_OP, bias=bias)
        check_shape(_OP, "bias", bias, "E", {"E": indices.shape[0]})
        check_same_device(_OP, q=q, bias=bias)


def ragged_cross_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    indices: Tensor,
    offsets: Tensor,
    bias: Tensor | None = None,
    *,
    scale: float | None = None,
    backend: str = "auto",
) -> Tensor:
    """Attend from each row to its own list of keys, with an additive bias on every edge.

    A key that a row would see n times is listed once with the bias log(n): the same softmax, which
    is how the object encoder of TarViS (Athar et al. 2023, section 3.2) is evaluated here.
    Scores, softmax and sums are at least float32. Differentiable once. The Triton backend reads q,
    k and v where they lie, whatever their strides, and is deterministic. Under autocast q, k and v
    are cast first.

    Args:
        q: one query a row (R, M, D).
        k: keys that all rows pick from (N, M, D).
        v: values (N, M, D).
        indices: int64 (E,), in [0, N): the keys of row 0, then of row 1, and so on.
        offsets: int64 (R + 1,), from 0 to E: row r has indices[offsets[r]:offsets[r + 1]].
        bias: (E,), added to the scores of all heads; an edge at -inf does not exist. None for
            zeros.
        scale: what scores are multiplied with; 1/sqrt(D) by default.
        backend: "triton" or "xformers" (float32 and half types), "reference", or "auto", which
            asks SEGBLOCKS_BACKEND and then takes the fastest that runs. xformers has to be named,
            here or there: it needs the package and a GPU, gathers k and v of every edge, reads the
            offsets on the host (so that compilers break the graph), and is deterministic only
            where the package is.

    Returns:
        (R, M, D) in the type of q; zeros for a row without keys.

    Raises:
        ValueError: a wrong shape, type or device, or an explicit backend that cannot run.

    Example:
        >>> q, k, v = torch.randn(2, 8, 32), torch.randn(9, 8, 32), torch.randn(9, 8, 32)
        >>> indices, counts = torch.tensor([0, 4, 7, 8]), torch.tensor([1.0, 2.0, 16.0, 1.0])
        >>> offsets = torch.tensor([0, 1, 4])
        >>> ragged_cross_attention(q, k, v, indices, offsets, counts.log()).shape
        torch.Size([2, 8, 32])
    """
    check_tensor(_OP, q=q, k=k, v=v, indices=indices, offsets=offsets)
    if bias is not None:
        check_tensor(_OP, bias=bias)
    q, k, v = autocast(q, k, v)
    _check(q, k, v, indices, offsets, bias)
    if scale is None:
        scale = 1.0 / math.sqrt(max(q.shape[-1], 1))
    request = BACKENDS.request(backend)
    if reason := refuses(request, q):
        raise ValueError(f"{_OP}: backend {request!r} cannot run: {reason}")
    if request == "xformers":
        BACKENDS.resolve(request, q.device)
        return ragged_cross_attention_xformers(q, k, v, indices, offsets, bias, scale)
    return forward_op(q, k, v, indices, offsets, bias, scale, request)[0]
