"""The PyTorch operators: forward and backward, each opaque to compilers and differentiable once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .. import _gradients
from .._backend import Backends
from .reference import (
    attended,
    masked_cross_attention_backward_reference,
    masked_cross_attention_reference,
    nothing_to_do,
)

OP = "masked_cross_attention"
BACKENDS = Backends(OP)
MAX_TRITON_HEAD_DIM = 256
# Keys in a word of the packed mask.
WORD = 32
# Most parts of a row of the packed mask that have a flag each. A program packs one: enough programs
# to fill a GPU with one clip, and few enough flags for attention to read with its queries.
MAX_STRIPS = 128


def triton_refuses(q: Tensor) -> str | None:
    """Why the Triton kernels do not take such a tensor, or None when they do."""
    if q.dtype == torch.float64:
        return "there is no Triton kernel for float64"
    if q.shape[-1] > MAX_TRITON_HEAD_DIM:
        return f"the Triton kernels take at most D={MAX_TRITON_HEAD_DIM}, got {q.shape[-1]}"
    return None


# The backend is settled here and not by the caller, so that an exported program with "auto"
# takes what is best where it runs.
def choose(backend: str, q: Tensor, mask: Tensor | None, bias: Tensor | None) -> str:
    """The backend that runs ``q``, for a request that ``BACKENDS.request`` settled."""
    chosen = BACKENDS.resolve(backend, q.device)
    # With neither mask nor bias PyTorch has flash attention.
    plain = mask is None and bias is None
    if backend == "auto" and chosen == "triton" and (plain or triton_refuses(q)):
        return "reference"
    return chosen


def words_per_strip(num_words: int) -> int:
    """How many words share a flag."""
    return num_words // MAX_STRIPS + 1


def _saved(
    q: Tensor, k: Tensor, mask: Tensor | None, triton: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Memory for what the backward needs besides the output; an empty tensor for what it does not.

    The log-sum-exp of each row in base 2 (B, Q, M), and the mask: words (B, Q, ceil(N / 32)) and
    flags (B, Q, at most 128) for Triton, bool (B, Q, N) for the reference.
    """
    rows, keys = q.shape[:2], k.shape[1]
    if not triton:
        keep = q.new_empty(0 if mask is None else (*rows, keys), dtype=torch.bool)
        return q.new_empty(0), keep, q.new_empty(0)
    lse = q.new_empty(q.shape[:3], dtype=torch.float32)
    if mask is None:
        return lse, q.new_empty(0), q.new_empty(0)
    num_words = -(-keys // WORD)
    num_strips = -(-num_words // words_per_strip(num_words))
    words = q.new_empty((*rows, num_words), dtype=torch.int32)
    return lse, words, q.new_empty((*rows, num_strips), dtype=torch.int8)


@torch.library.custom_op(
    "segblocks::masked_cross_attention",
    mutates_args=(),
    schema="(Tensor q, Tensor k, Tensor v, Tensor? mask, Tensor? features, Tensor? bias, "
    "Tensor? bias_scale, float scale, str backend) -> (Tensor, Tensor, Tensor, Tensor)",
)
def forward_op(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None,
    features: Tensor | None,
    bias: Tensor | None,
    bias_scale: Tensor | None,
    scale: float,
    backend: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The output, and what the backward of the chosen backend needs: see ``_saved``."""
    triton = choose(backend, q, mask, bias) == "triton"
    lse, words, strips = _saved(q, k, mask, triton)
    if not triton:
        keep = None if mask is None else words.copy_(attended(mask, features))
        out = masked_cross_attention_reference(q, k, v, keep, bias, bias_scale, scale)
        return out.contiguous(), lse, words, strips
    out = q.new_empty(q.shape)
    if nothing_to_do(q, k):
        return out.zero_(), lse.zero_(), words.zero_(), strips.zero_()
    from . import triton_forward, triton_pack

    if mask is not None:
        triton_pack.pack(mask, features, words, strips)
    packed = None if mask is None else (words, strips)
    triton_forward.forward(q, k, v, packed, bias, bias_scale, out, lse, scale)
    return out, lse, words, strips


@forward_op.register_fake
def _(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None,
    features: Tensor | None,
    bias: Tensor | None,
    bias_scale: Tensor | None,
    scale: float,
    backend: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    triton = choose(backend, q, mask, bias) == "triton"
    return q.new_empty(q.shape), *_saved(q, k, mask, triton)


@torch.library.custom_op(
    "segblocks::masked_cross_attention_backward",
    mutates_args=(),
    schema="(Tensor grad_out, Tensor q, Tensor k, Tensor v, Tensor? bias, Tensor? bias_scale, "
    "Tensor out, Tensor lse, Tensor words, Tensor strips, bool masked, float scale, bool[] needs, "
    "str backend) -> (Tensor, Tensor, Tensor, Tensor, Tensor)",
)
def backward_op(
    grad_out: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    bias: Tensor | None,
    bias_scale: Tensor | None,
    out: Tensor,
    lse: Tensor,
    words: Tensor,
    strips: Tensor,
    masked: bool,
    scale: float,
    needs: Sequence[bool],
    backend: str,
) -> tuple[Tensor, ...]:
    """The gradients of q, k, v, bias and bias_scale that ``needs`` asks for."""
    mask = words if masked else None
    if choose(backend, q, mask, bias) == "triton" and not nothing_to_do(q, k):
        from . import triton_backward

        packed = (words, strips) if masked else None
        inputs = (grad_out, q, k, v, packed, bias, bias_scale, out, lse)
        grads = triton_backward.backward(*inputs, scale, needs)
        return _gradients.filled(grads, _sources(q, k, v, bias, bias_scale))
    inputs = (grad_out, q, k, v, mask, bias, bias_scale, out)
    # A backward that runs under autocast would otherwise have its products cast.
    with torch.autocast(q.device.type, enabled=False):
        grads = masked_cross_attention_backward_reference(*inputs, scale, needs)
    return _gradients.filled(grads, _sources(q, k, v, bias, bias_scale))


@backward_op.register_fake
def _(
    grad_out: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    bias: Tensor | None,
    bias_scale: Tensor | None,
    out: Tensor,
    lse: Tensor,
    words: Tensor,
    strips: Tensor,
    masked: bool,
    scale: float,
    needs: Sequence[bool],
    backend: str,
) -> tuple[Tensor, ...]:
    return _gradients.fake(needs, _sources(q, k, v, bias, bias_scale))


def _sources(
    q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, bias_scale: Tensor | None
) -> tuple[Tensor, ...]:
    # Without a bias nobody asks for its gradient: any tensor lends its type.
    return q, k, v, q if bias is None else bias, q if bias_scale is None else bias_scale


def _setup_context(
    ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor, Tensor]
) -> None:
    q, k, v, mask, _, bias, bias_scale, scale, backend = inputs
    ctx.mark_non_differentiable(*output[1:])
    ctx.save_for_backward(q, k, v, bias, bias_scale, *output)
    ctx.settings = mask is not None, scale
    ctx.backend = backend


def _differentiate(ctx: Any, grad_out: Tensor, *_: Tensor | None) -> tuple[Tensor | None, ...]:
    needs = [ctx.needs_input_grad[i] for i in (0, 1, 2, 5, 6)]
    grads = backward_op(grad_out, *ctx.saved_tensors, *ctx.settings, needs, ctx.backend)
    of_q, of_k, of_v, *of_bias = _gradients.wanted(grads, needs)
    return of_q, of_k, of_v, None, None, *of_bias, None, None


forward_op.register_autograd(_differentiate, setup_context=_setup_context)
