"""The PyTorch operators: forward and backward, each opaque to compilers and differentiable once.

No autocast rule is registered: the inputs may have different types, the output has the type of
``value``, and coordinates and sums are at least float32 in any case.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .. import _gradients
from .._backend import REFERENCE, TRITON, Backends, Candidate
from .._check import as_pairs
from .cpp import backward_cpp, cpp_preview, cpp_unavailable, forward_cpp
from .reference import ms_deform_attn_reference
from .reference_backward import ms_deform_attn_backward_reference

_CPP = Candidate("cpp", cpp_unavailable, frozenset({"cpu"}), cpp_preview)
BACKENDS = Backends("ms_deform_attn", (TRITON, _CPP, REFERENCE))

_Gradients = tuple[Tensor | None, Tensor | None, Tensor | None]
_BackwardInputs = tuple[Tensor, Tensor, Sequence[tuple[int, int]], Tensor, Tensor]


# The backend is settled here and not by the caller, so that an exported program with "auto"
# takes what is best where it runs.
@torch.library.custom_op(
    "segblocks::ms_deform_attn",
    mutates_args=(),
    schema="(Tensor value, SymInt[] spatial_shapes, Tensor sampling_locations, "
    "Tensor attention_weights, str backend) -> Tensor",
)
def forward_op(
    value: Tensor,
    spatial_shapes: Sequence[int],
    sampling_locations: Tensor,
    attention_weights: Tensor,
    backend: str,
) -> Tensor:
    inputs = value, as_pairs(spatial_shapes), sampling_locations, attention_weights
    chosen = BACKENDS.resolve(backend, value.device)
    if chosen == "triton":
        from .triton_forward import forward_triton

        return forward_triton(*inputs)
    if chosen == "cpp":
        return forward_cpp(*inputs)
    return ms_deform_attn_reference(*inputs)


@forward_op.register_fake
def _(
    value: Tensor,
    spatial_shapes: Sequence[int],
    sampling_locations: Tensor,
    attention_weights: Tensor,
    backend: str,
) -> Tensor:
    batch, _, heads, dim = value.shape
    return value.new_empty((batch, sampling_locations.shape[1], heads * dim))


def _backward(
    backend: str, inputs: _BackwardInputs, needs: tuple[bool, bool, bool], device: torch.device
) -> _Gradients:
    chosen = BACKENDS.resolve(backend, device)
    if chosen == "triton":
        from .triton_backward import backward_triton

        return backward_triton(*inputs, needs)
    if chosen == "cpp":
        return backward_cpp(*inputs, needs)
    return ms_deform_attn_backward_reference(*inputs, needs)


@torch.library.custom_op(
    "segblocks::ms_deform_attn_backward",
    mutates_args=(),
    schema="(Tensor grad_out, Tensor value, SymInt[] spatial_shapes, Tensor sampling_locations, "
    "Tensor attention_weights, bool[] needs, str backend) -> (Tensor, Tensor, Tensor)",
)
def backward_op(
    grad_out: Tensor,
    value: Tensor,
    spatial_shapes: Sequence[int],
    sampling_locations: Tensor,
    attention_weights: Tensor,
    needs: Sequence[bool],
    backend: str,
) -> tuple[Tensor, ...]:
    inputs = grad_out, value, as_pairs(spatial_shapes), sampling_locations, attention_weights
    grads = _backward(backend, inputs, (needs[0], needs[1], needs[2]), value.device)
    return _gradients.filled(grads, (value, sampling_locations, attention_weights))


@backward_op.register_fake
def _(
    grad_out: Tensor,
    value: Tensor,
    spatial_shapes: Sequence[int],
    sampling_locations: Tensor,
    attention_weights: Tensor,
    needs: Sequence[bool],
    backend: str,
) -> tuple[Tensor, ...]:
    return _gradients.fake(needs, (value, sampling_locations, attention_weights))


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    value, spatial_shapes, sampling_locations, attention_weights, backend = inputs
    ctx.save_for_backward(value, sampling_locations, attention_weights)
    ctx.spatial_shapes = spatial_shapes
    ctx.backend = backend


def _differentiate(ctx: Any, grad_out: Tensor) -> tuple[Tensor | None, ...]:
    value, sampling_locations, attention_weights = ctx.saved_tensors
    needs = [ctx.needs_input_grad[i] for i in (0, 2, 3)]
    grads = backward_op(
        grad_out,
        value,
        ctx.spatial_shapes,
        sampling_locations,
        attention_weights,
        needs,
        ctx.backend,
    )
    of_value, of_locations, of_weights = _gradients.wanted(grads, needs)
    return of_value, None, of_locations, of_weights, None


forward_op.register_autograd(_differentiate, setup_context=_setup_context)
