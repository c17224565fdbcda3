"""The PyTorch operators: forward and backward, each opaque to compilers and differentiable once.

Left to autograd, the gathered q, k and v would be kept, 3*E*M*D numbers; the operators keep E*M,
and those on Triton R*M.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .. import _gradients
from .._backend import REFERENCE, TRITON, Backends, Candidate
from .reference import (
    ragged_cross_attention_backward_reference,
    ragged_cross_attention_reference,
)
from .xformers import xformers_unavailable

OP = "ragged_cross_attention"
# It copies and has the host wait, so that auto never takes it.
_XFORMERS = Candidate("xformers", xformers_unavailable, frozenset())
BACKENDS = Backends(OP, (TRITON, _XFORMERS, REFERENCE))


def refuses(backend: str, q: Tensor) -> str | None:
    """Why a backend does not take such a tensor, or None when it does."""
    if q.dtype == torch.float64 and backend in ("triton", "xformers"):
        return f"{backend} has no kernel for float64"
    return None


# The backend is settled here and not by the caller, so that an exported program with "auto"
# takes what is best where it runs.
def _choose(backend: str, q: Tensor) -> str:
    chosen = BACKENDS.resolve(backend, q.device)
    if backend == "auto" and chosen == "triton" and refuses(chosen, q):
        return "reference"
    return chosen


@torch.library.custom_op(
    "segblocks::ragged_cross_attention",
    mutates_args=(),
    schema="(Tensor q, Tensor k, Tensor v, Tensor indices, Tensor offsets, Tensor? bias, "
    "float scale, str backend) -> (Tensor, Tensor)",
)
def forward_op(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    indices: Tensor,
    offsets: Tensor,
    bias: Tensor | None,
    scale: float,
    backend: str,
) -> tuple[Tensor, Tensor]:
    """The output (R, M, D), and what the backward of the chosen backend wants.

    That is the weight of each edge (E, M) for the reference, and the log-sum-exp of each row
    (R, M) for Triton.
    """
    if _choose(backend, q) == "triton":
        from . import triton_forward

        return triton_forward.forward(q, k, v, indices, offsets, bias, scale)
    return ragged_cross_attention_reference(q, k, v, indices, offsets, bias, scale)


@forward_op.register_fake
def _(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    indices: Tensor,
    offsets: Tensor,
    bias: Tensor | None,
    scale: float,
    backend: str,
) -> tuple[Tensor, Tensor]:
    rows = q.shape[0] if _choose(backend, q) == "triton" else indices.shape[0]
    dtype = torch.promote_types(q.dtype, torch.float32)
    return q.new_empty(q.shape), q.new_empty((rows, q.shape[1]), dtype=dtype)


@torch.library.custom_op(
    "segblocks::ragged_cross_attention_backward",
    mutates_args=(),
    schema="(Tensor grad_out, Tensor q, Tensor k, Tensor v, Tensor indices, Tensor offsets, "
    "Tensor? bias, Tensor out, Tensor kept, float scale, bool[] needs, str backend) "
    "-> (Tensor, Tensor, Tensor, Tensor)",
)
def backward_op(
    grad_out: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    indices: Tensor,
    offsets: Tensor,
    bias: Tensor | None,
    out: Tensor,
    kept: Tensor,
    scale: float,
    needs: Sequence[bool],
    backend: str,
) -> tuple[Tensor, ...]:
    """The gradients of q, k, v and the bias that ``needs`` asks for."""
    if _choose(backend, q) == "triton":
        from . import triton_backward

        *grads, of_scores = triton_backward.backward(
            grad_out, q, k, v, indices, offsets, bias, out, kept, scale, needs
        )
    else:
        *grads, of_scores = ragged_cross_attention_backward_reference(
            grad_out, q, k, v, indices, offsets, out, kept, scale, needs
        )
    of_bias = None if bias is None or of_scores is None else of_scores.to(bias.dtype)
    return _gradients.filled((*grads, of_bias), _sources(q, k, v, bias))


@backward_op.register_fake
def _(
    grad_out: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    indices: Tensor,
    offsets: Tensor,
    bias: Tensor | None,
    out: Tensor,
    kept: Tensor,
    scale: float,
    needs: Sequence[bool],
    backend: str,
) -> tuple[Tensor, ...]:
    return _gradients.fake(needs, _sources(q, k, v, bias))


def _sources(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> tuple[Tensor, ...]:
    # Without a bias nobody asks for its gradient: any tensor lends its type.
    return q, k, v, q if bias is None else bias


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    *tensors, scale, backend = inputs
    out, kept = output
    ctx.mark_non_differentiable(kept)
    ctx.save_for_backward(*tensors, out, kept)
    ctx.settings = scale, backend


def _differentiate(ctx: Any, grad_out: Tensor, _: Tensor | None) -> tuple[Tensor | None, ...]:
    scale, backend = ctx.settings
    needs = [ctx.needs_input_grad[i] for i in (0, 1, 2, 5)]
    grads = backward_op(grad_out, *ctx.saved_tensors, scale, needs, backend)
    of_q, of_k, of_v, of_bias = _gradients.wanted(grads, needs)
    return of_q, of_k, of_v, None, None, of_bias, None, None


forward_op.register_autograd(_differentiate, setup_context=_setup_context)
