"""Fused deformable attention in plain PyTorch: the specification, and its gradients."""

from __future__ import annotations

import torch
from torch import Tensor

from ..ms_deform_attn.reference import compute_dtype, ms_deform_attn_reference
from ..ms_deform_attn.reference_backward import ms_deform_attn_backward_reference
from .anchors import Shapes, grad_reference_points, pixel_centres

Gradients = tuple[Tensor | None, Tensor | None, Tensor | None, Tensor | None]


def computation_dtype(
    value: Tensor, reference_points: Tensor | None, offsets: Tensor, logits: Tensor
) -> torch.dtype:
    """The type of coordinates, softmax and sums: float64 where an input is, else float32."""
    given = () if reference_points is None else (reference_points,)
    return compute_dtype(value, *given, offsets, logits)


def attention_weights(logits: Tensor, dtype: torch.dtype) -> Tensor:
    """Softmax over levels and points together: (B, Q, M, L, P)."""
    return logits.to(dtype).flatten(-2).softmax(-1).view(logits.shape)


def grad_logits(grad_weights: Tensor, weights: Tensor) -> Tensor:
    """Differentiate the softmax."""
    mean = (weights * grad_weights).sum((-2, -1), keepdim=True)
    return weights * (grad_weights - mean)


def level_sizes(spatial_shapes: Shapes, like: Tensor) -> Tensor:
    """(width, height) of each level, (L, 1, 2), at least 1: an empty level is not sampled."""
    return like.new_tensor([(max(w, 1), max(h, 1)) for h, w in spatial_shapes])[:, None]


def sampling_locations(
    reference_points: Tensor | None, spatial_shapes: Shapes, offsets: Tensor, dtype: torch.dtype
) -> Tensor:
    """(x, y) in [0, 1] of each level, where ``ms_deform_attn`` samples: (B, Q, M, L, P, 2)."""
    if reference_points is None:
        centres = pixel_centres(spatial_shapes, dtype=dtype, device=offsets.device)
        reference_points = centres[None, :, None]
    offsets = offsets.to(dtype)
    origin = reference_points.to(dtype)[:, :, None, :, None]
    return origin + offsets / level_sizes(spatial_shapes, offsets)


def ms_deform_attn_fused_reference(
    value: Tensor,
    spatial_shapes: Shapes,
    reference_points: Tensor | None,
    offsets: Tensor,
    logits: Tensor,
) -> Tensor:
    """Normalise the offsets, take the softmax of the logits, and attend.

    Args:
        value, spatial_shapes, offsets: as in ``ms_deform_attn_fused``.
        reference_points: (B, Q, L, 2) or None.
        logits: (B, Q, M, L, P).

    Returns:
        (B, Q, M*D), differentiable by autograd.
    """
    dtype = computation_dtype(value, reference_points, offsets, logits)
    locations = sampling_locations(reference_points, spatial_shapes, offsets, dtype)
    weights = attention_weights(logits, dtype)
    return ms_deform_attn_reference(value, spatial_shapes, locations, weights)


def finish(
    needs: tuple[bool, bool, bool, bool],
    reference_points: Tensor | None,
    spatial_shapes: Shapes,
    of_value: Tensor | None,
    of_offsets: Tensor | None,
    of_logits: Tensor | None,
) -> Gradients:
    """The gradients that ``needs`` asks for, that of the reference points from the offsets'."""
    of_points = None
    if needs[1] and of_offsets is not None and reference_points is not None:
        of_points = grad_reference_points(of_offsets, spatial_shapes).to(reference_points.dtype)
    return of_value, of_points, of_offsets if needs[2] else None, of_logits if needs[3] else None


def ms_deform_attn_fused_backward_reference(
    grad_out: Tensor,
    value: Tensor,
    spatial_shapes: Shapes,
    reference_points: Tensor | None,
    offsets: Tensor,
    logits: Tensor,
    needs: tuple[bool, bool, bool, bool],
) -> Gradients:
    """The gradients of value, reference points, offsets and logits, without autograd.

    Those of offsets and logits are in the type of computation.
    """
    dtype = computation_dtype(value, reference_points, offsets, logits)
    locations = sampling_locations(reference_points, spatial_shapes, offsets, dtype)
    weights = attention_weights(logits, dtype)
    inner = (needs[0], needs[1] or needs[2], needs[3])
    of_value, of_locations, of_weights = ms_deform_attn_backward_reference(
        grad_out, value, spatial_shapes, locations, weights, inner
    )
    of_offsets = of_logits = None
    if of_locations is not None:
        of_offsets = of_locations / level_sizes(spatial_shapes, of_locations)
    if of_weights is not None:
        of_logits = grad_logits(of_weights, weights)
    return finish(needs, reference_points, spatial_shapes, of_value, of_offsets, of_logits)
