"""The PyTorch operators: forward and backward, each opaque to compilers and differentiable once.

No autocast rule is registered: the inputs may have different types, the output has the type of
``value``, and coordinates, softmax and sums are at least float32 in any case.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .. import _gradients
from .._backend import REFERENCE, TRITON, Backends, Candidate
from .._check import as_pairs
from ..ms_deform_attn.cpp import cpp_preview, cpp_unavailable
from .cpp import backward_cpp, forward_cpp
from .reference import (
    Gradients,
    ms_deform_attn_fused_backward_reference,
    ms_deform_attn_fused_reference,
)

_CPP = Candidate("cpp", cpp_unavailable, frozenset({"cpu"}), cpp_preview)
BACKENDS = Backends("ms_deform_attn_fused", (TRITON, _CPP, REFERENCE))

_Inputs = tuple[Tensor, Sequence[tuple[int, int]], Tensor | None, Tensor, Tensor]
_Needs = tuple[bool, bool, bool, bool]


# The backend is settled here and not by the caller, so that an exported program with "auto"
# takes what is best where it runs.
@torch.library.custom_op(
    "segblocks::ms_deform_attn_fused",
    mutates_args=(),
    schema="(Tensor value, SymInt[] spatial_shapes, Tensor? reference_points, Tensor offsets, "
    "Tensor logits, str backend) -> Tensor",
)
def forward_op(
    value: Tensor,
    spatial_shapes: Sequence[int],
    reference_points: Tensor | None,
    offsets: Tensor,
    logits: Tensor,
    backend: str,
) -> Tensor:
    inputs = value, as_pairs(spatial_shapes), reference_points, offsets, logits
    chosen = BACKENDS.resolve(backend, value.device)
    if chosen == "triton":
        from .triton_forward import forward_triton

        return forward_triton(*inputs)
    if chosen == "cpp":
        return forward_cpp(*inputs)
    return ms_deform_attn_fused_reference(*inputs)


@forward_op.register_fake
def _(
    value: Tensor,
    spatial_shapes: Sequence[int],
    reference_points: Tensor | None,
    offsets: Tensor,
    logits: Tensor,
    backend: str,
) -> Tensor:
    batch, _, heads, dim = value.shape
    return value.new_empty((batch, offsets.shape[1], heads * dim))


def _backward(backend: str, grad_out: Tensor, inputs: _Inputs, needs: _Needs) -> Gradients:
    chosen = BACKENDS.resolve(backend, grad_out.device)
    if chosen == "triton":
        from .triton_backward import backward_triton

        return backward_triton(grad_out, *inputs, needs)
    if chosen == "cpp":
        return backward_cpp(grad_out, *inputs, needs)
    return ms_deform_attn_fused_backward_reference(grad_out, *inputs, needs)


def _sources(
    value: Tensor, reference_points: Tensor | None, offsets: Tensor, logits: Tensor
) -> tuple[Tensor, ...]:
    # Of points that are not given nobody can ask the gradient: any tensor stands for them.
    return value, offsets if reference_points is None else reference_points, offsets, logits


@torch.library.custom_op(
    "segblocks::ms_deform_attn_fused_backward",
    mutates_args=(),
    schema="(Tensor grad_out, Tensor value, SymInt[] spatial_shapes, "
    "Tensor? reference_points, Tensor offsets, Tensor logits, bool[] needs, str backend) "
    "-> (Tensor, Tensor, Tensor, Tensor)",
)
def backward_op(
    grad_out: Tensor,
    value: Tensor,
    spatial_shapes: Sequence[int],
    reference_points: Tensor | None,
    offsets: Tensor,
    logits: Tensor,
    needs: Sequence[bool],
    backend: str,
) -> tuple[Tensor, ...]:
    inputs = value, as_pairs(spatial_shapes), reference_points, offsets, logits
    grads = _backward(backend, grad_out, inputs, (needs[0], needs[1], needs[2], needs[3]))
    sources = _sources(value, reference_points, offsets, logits)
    cast = [
        grad if grad is None else grad.to(source.dtype)
        for grad, source in zip(grads, sources, strict=True)
    ]
    return _gradients.filled(cast, sources)


@backward_op.register_fake
def _(
    grad_out: Tensor,
    value: Tensor,
    spatial_shapes: Sequence[int],
    reference_points: Tensor | None,
    offsets: Tensor,
    logits: Tensor,
    needs: Sequence[bool],
    backend: str,
) -> tuple[Tensor, ...]:
    return _gradients.fake(needs, _sources(value, reference_points, offsets, logits))


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    value, spatial_shapes, reference_points, offsets, logits, backend = inputs
    ctx.save_for_backward(value, reference_points, offsets, logits)
    ctx.spatial_shapes = spatial_shapes
    ctx.backend = backend


def _differentiate(ctx: Any, grad_out: Tensor) -> tuple[Tensor | None, ...]:
    value, reference_points, offsets, logits = ctx.saved_tensors
    needs = [ctx.needs_input_grad[i] for i in (0, 2, 3, 4)]
    grads = backward_op(
        grad_out,
        value,
        ctx.spatial_shapes,
        reference_points,
        offsets,
        logits,
        needs,
        ctx.backend,
    )
    of_value, of_points, of_offsets, of_logits = _gradients.wanted(grads, needs)
    return of_value, None, of_points, of_offsets, of_logits, None


forward_op.register_autograd(_differentiate, setup_context=_setup_context)
