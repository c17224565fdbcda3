"""The PyTorch operators: forward and backward, each opaque to compilers and differentiable once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .. import _gradients
from .._backend import Backends
from .cells import OP, make_cells
from .reference import (
    add_positions,
    nothing_to_do,
    space_time_attention_backward_reference,
    space_time_attention_reference,
)

BACKENDS = Backends(OP)
MAX_TRITON_HEAD_DIM = 256


def triton_refuses(q: Tensor, scale: float) -> str | None:
    """Why the Triton kernels do not take such a call, or None when they do."""
    if q.dtype == torch.float64:
        return "there is no Triton kernel for float64"
    if q.shape[-1] > MAX_TRITON_HEAD_DIM:
        return f"the Triton kernels take at most D={MAX_TRITON_HEAD_DIM}, got {q.shape[-1]}"
    if not scale > 0:
        return f"the Triton kernels take a positive scale, got {scale}"
    return None


# The backend is settled here and not by the caller, so that an exported program with "auto"
# takes what is best where it runs.
def choose(backend: str, q: Tensor, scale: float) -> str:
    """The backend that runs ``q``, for a request that ``BACKENDS.request`` settled."""
    chosen = BACKENDS.resolve(backend, q.device)
    if backend == "auto" and chosen == "triton" and triton_refuses(q, scale):
        return "reference"
    return chosen


@torch.library.custom_op(
    "segblocks::space_time_attention",
    mutates_args=(),
    schema="(Tensor q, Tensor k, Tensor v, SymInt[] spatial_shapes, SymInt[] cell_sizes, "
    "float scale, str backend, Tensor? q_position=None, Tensor? k_position=None) "
    "-> (Tensor, Tensor)",
)
def forward_op(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    spatial_shapes: Sequence[int],
    cell_sizes: Sequence[int],
    scale: float,
    backend: str,
    q_position: Tensor | None = None,
    k_position: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The output, and each row's log-sum-exp where the backward of the chosen backend needs it.

    There are positions (T, N, M, D) for both queries and keys, or for neither.
    """
    cells = make_cells(spatial_shapes, cell_sizes)
    if choose(backend, q, scale) == "triton":
        if nothing_to_do(q, cells):
            return _zeros(q.shape, q.dtype, q.device), _zeros(q.shape[:-1], torch.float32, q.device)
        from . import triton_forward

        return triton_forward.forward(q, k, v, q_position, k_position, cells, scale)
    q, k = add_positions(q, k, q_position, k_position)
    return space_time_attention_reference(q, k, v, cells, scale).contiguous(), q.new_empty(0)


def _zeros(shape: torch.Size, dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.zeros(shape, dtype=dtype, device=device)


@forward_op.register_fake
def _(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    spatial_shapes: Sequence[int],
    cell_sizes: Sequence[int],
    scale: float,
    backend: str,
    q_position: Tensor | None = None,
    k_position: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    out = q.new_empty(q.shape)
    if choose(backend, q, scale) == "triton":
        return out, q.new_empty(q.shape[:-1], dtype=torch.float32)
    return out, q.new_empty(0)


@torch.library.custom_op(
    "segblocks::space_time_attention_backward",
    mutates_args=(),
    schema="(Tensor grad_out, Tensor q, Tensor k, Tensor v, Tensor out, Tensor lse, "
    "SymInt[] spatial_shapes, SymInt[] cell_sizes, float scale, bool[] needs, str backend, "
    "Tensor? q_position=None, Tensor? k_position=None) -> (Tensor, Tensor, Tensor)",
)
def backward_op(
    grad_out: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    out: Tensor,
    lse: Tensor,
    spatial_shapes: Sequence[int],
    cell_sizes: Sequence[int],
    scale: float,
    needs: Sequence[bool],
    backend: str,
    q_position: Tensor | None = None,
    k_position: Tensor | None = None,
) -> tuple[Tensor, ...]:
    cells = make_cells(spatial_shapes, cell_sizes)
    if choose(backend, q, scale) == "triton" and not nothing_to_do(q, cells):
        from . import triton_backward

        grads = triton_backward.backward(
            grad_out, q, k, v, q_position, k_position, out, lse, cells, scale, needs
        )
        return _gradients.filled(grads, (q, k, v))
    # A backward that runs under autocast would otherwise have its products cast.
    with torch.autocast(q.device.type, enabled=False):
        placed = add_positions(q, k, q_position, k_position)
        grads = space_time_attention_backward_reference(
            grad_out, *placed, v, out, cells, scale, needs
        )
    return _gradients.filled(grads, (q, k, v))


@backward_op.register_fake
def _(
    grad_out: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    out: Tensor,
    lse: Tensor,
    spatial_shapes: Sequence[int],
    cell_sizes: Sequence[int],
    scale: float,
    needs: Sequence[bool],
    backend: str,
    q_position: Tensor | None = None,
    k_position: Tensor | None = None,
) -> tuple[Tensor, ...]:
    return _gradients.fake(needs, (q, k, v))


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    q, k, v, spatial_shapes, cell_sizes, scale, backend, q_position, k_position = inputs
    out, lse = output
    ctx.save_for_backward(q, k, v, out, lse, q_position, k_position)
    ctx.mark_non_differentiable(lse)
    ctx.settings = spatial_shapes, cell_sizes, scale, backend


def _differentiate(ctx: Any, grad_out: Tensor, _: Tensor | None) -> tuple[Tensor | None, ...]:
    *settings, backend = ctx.settings
    *tensors, q_position, k_position = ctx.saved_tensors
    asked, asked_positions = ctx.needs_input_grad[:3], ctx.needs_input_grad[-2:]
    needs = [asked[0] or asked_positions[0], asked[1] or asked_positions[1], asked[2]]
    grads = backward_op(grad_out, *tensors, *settings, needs, backend, q_position, k_position)
    # A position is added in every clip.
    position_grads = [
        grad.sum(0) if needed else None
        for grad, needed in zip(grads[:2], asked_positions, strict=True)
    ]
    return *_gradients.wanted(grads, asked), None, None, None, None, *position_grads


forward_op.register_autograd(_differentiate, setup_context=_setup_context)
