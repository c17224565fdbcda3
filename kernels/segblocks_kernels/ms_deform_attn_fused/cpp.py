"""The CPU path: the C++ of ``ms_deform_attn``, from anchors; PyTorch's softmax is fast already."""

from __future__ import annotations

from torch import Tensor

from ..ms_deform_attn import cpp
from .anchors import Shapes, make_anchors
from .reference import Gradients, attention_weights, computation_dtype, finish, grad_logits


def forward_cpp(
    value: Tensor,
    spatial_shapes: Shapes,
    reference_points: Tensor | None,
    offsets: Tensor,
    logits: Tensor,
) -> Tensor:
    """The output, in the type of ``value``; arguments as of the reference."""
    dtype = computation_dtype(value, reference_points, offsets, logits)
    anchors = make_anchors(reference_points, spatial_shapes, offsets, dtype)
    weights = attention_weights(logits, dtype)
    return cpp.forward_cpp(value, spatial_shapes, offsets.to(dtype), weights, anchors)


def backward_cpp(
    grad_out: Tensor,
    value: Tensor,
    spatial_shapes: Shapes,
    reference_points: Tensor | None,
    offsets: Tensor,
    logits: Tensor,
    needs: tuple[bool, bool, bool, bool],
) -> Gradients:
    """The gradients of value, reference points, offsets and logits; the last two uncast."""
    dtype = computation_dtype(value, reference_points, offsets, logits)
    anchors = make_anchors(reference_points, spatial_shapes, offsets, dtype)
    weights = attention_weights(logits, dtype)
    inner = (needs[0], needs[1] or needs[2], needs[3])
    of_value, of_offsets, of_weights = cpp.backward_cpp(
        grad_out, value, spatial_shapes, offsets.to(dtype), weights, inner, anchors
    )
    of_logits = None if of_weights is None else grad_logits(of_weights, weights)
    return finish(needs, reference_points, spatial_shapes, of_value, of_offsets, of_logits)
