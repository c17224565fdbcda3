"""Multi-scale deformable attention: the public function."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from .._check import (
    as_pairs,
    check_float,
    check_same_device,
    check_shape,
    check_spatial_shapes,
    check_tensor,
)
from .op import BACKENDS, forward_op

_OP = "ms_deform_attn"


def _check_tensors(
    value: Tensor, flat: list[int], sampling_locations: Tensor, attention_weights: Tensor
) -> None:
    check_tensor(
        _OP,
        value=value,
        sampling_locations=sampling_locations,
        attention_weights=attention_weights,
    )
    check_float(
        _OP,
        value=value,
        sampling_locations=sampling_locations,
        attention_weights=attention_weights,
    )
    check_same_device(
        _OP,
        value=value,
        sampling_locations=sampling_locations,
        attention_weights=attention_weights,
    )
    check_shape(_OP, "value", value, "B N M D", {})
    pairs = as_pairs(flat)
    tokens = sum(h * w for h, w in pairs)
    if value.shape[1] != tokens:
        raise ValueError(
            f"{_OP}: value must have N={tokens} tokens, the sum of height*width over "
            f"spatial_shapes {tuple(pairs)}, got {tuple(value.shape)}"
        )
    sizes = {"B": value.shape[0], "M": value.shape[2], "L": len(pairs)}
    check_shape(_OP, "sampling_locations", sampling_locations, "B Q M L P 2", sizes)
    sizes |= {"Q": sampling_locations.shape[1], "P": sampling_locations.shape[4]}
    check_shape(_OP, "attention_weights", attention_weights, "B Q M L P", sizes)


def ms_deform_attn(
    value: Tensor,
    spatial_shapes: Sequence[tuple[int, int]],
    sampling_locations: Tensor,
    attention_weights: Tensor,
    *,
    backend: str = "auto",
) -> Tensor:
    """Sum a few bilinear samples of every pyramid level for each query and head.

    The core of multi-scale deformable attention (Deformable DETR, Zhu et al. 2021, section 4.1,
    equation 3): projections, softmax and reference points are the caller's. Samples outside a
    level count as zero, those at NaN make the output NaN. Coordinates and sums are float32 whatever
    the type of ``value`` (float64 where an input is float64); make the coordinates in float32, half
    precision costs up to 0.6 pixels at a width of 160. Differentiable once in all three tensors.

    Args:
        value: tokens of all levels, one level after the other, each row-major: (B, N, M, D).
        spatial_shapes: (height, width) of each of the L levels, in the order of the tokens; plain
            ints, since a tensor would stall the device. A level may be empty.
        sampling_locations: (x, y) in [0, 1] of each level, (0, 0) being the outer corner of its
            first pixel: (B, Q, M, L, P, 2).
        attention_weights: weight of each sample, usually softmax over L*P: (B, Q, M, L, P).
        backend: "triton", "cpp" (CPU), "reference", or "auto", which asks SEGBLOCKS_BACKEND and
            then takes the fastest that runs on the device.

    Returns:
        (B, Q, M*D), in the type of ``value``.

    Raises:
        ValueError: a wrong shape, type or device, or an explicit backend that cannot run here.

    Example:
        >>> import torch
        >>> value = torch.randn(1, 4 * 6 + 2 * 3, 8, 32)
        >>> locations, weights = torch.rand(1, 5, 8, 2, 4, 2), torch.rand(1, 5, 8, 2, 4)
        >>> ms_deform_attn(value, [(4, 6), (2, 3)], locations, weights).shape
        torch.Size([1, 5, 256])
    """
    flat = check_spatial_shapes(_OP, spatial_shapes)
    _check_tensors(value, flat, sampling_locations, attention_weights)
    request = BACKENDS.request(backend)
    return forward_op(value, flat, sampling_locations, attention_weights, request)
