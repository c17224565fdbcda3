"""Multi-scale deformable attention from offsets and logits: the public function."""

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

_OP = "ms_deform_attn_fused"
# Dimensions that reference points may have, by their number.
_POINT_DIMS = {2: "Q 2", 3: "B Q 2", 4: "B Q L 2"}


def _check_tensors(
    value: Tensor,
    flat: list[int],
    reference_points: Tensor | None,
    offsets: Tensor,
    logits: Tensor,
) -> None:
    tensors = {"value": value, "offsets": offsets, "logits": logits}
    if reference_points is not None:
        tensors["reference_points"] = reference_points
    check_tensor(_OP, **tensors)
    check_float(_OP, **tensors)
    check_same_device(_OP, **tensors)
    check_shape(_OP, "value", value, "B N M D", {})
    pairs = as_pairs(flat)
    tokens = sum(h * w for h, w in pairs)
    if value.shape[1] != tokens:
        raise ValueError(
            f"{_OP}: value must have N={tokens} tokens, the sum of height*width over "
            f"spatial_shapes {tuple(pairs)}, got {tuple(value.shape)}"
        )
    sizes = {"B": value.shape[0], "M": value.shape[2], "L": len(pairs)}
    check_shape(_OP, "offsets", offsets, "B Q M L P 2", sizes)
    queries, points = offsets.shape[1], offsets.shape[4]
    if logits.dim() == 4:
        check_shape(
            _OP, "logits", logits, "B Q M L*P", sizes | {"Q": queries, "L*P": len(pairs) * points}
        )
    else:
        check_shape(_OP, "logits", logits, "B Q M L P", sizes | {"Q": queries, "P": points})
    _check_points(reference_points, sizes | {"Q": queries}, tokens)


def _check_points(reference_points: Tensor | None, sizes: dict[str, int], tokens: int) -> None:
    if reference_points is None:
        if sizes["Q"] != tokens:
            raise ValueError(
                f"{_OP}: offsets must have a query for each of the N={tokens} tokens where "
                f"reference_points is None, got Q={sizes['Q']}"
            )
        return
    dims = _POINT_DIMS.get(reference_points.dim())
    if dims is None:
        raise ValueError(
            f"{_OP}: reference_points must have shape (Q, 2), (B, Q, 2) or (B, Q, L, 2) or be "
            f"None, got {tuple(reference_points.shape)}"
        )
    check_shape(_OP, "reference_points", reference_points, dims, sizes)


def _by_level(reference_points: Tensor, offsets: Tensor) -> Tensor:
    """As (B, Q, L, 2), without a copy."""
    if reference_points.dim() < 4:
        reference_points = reference_points[..., None, :]
    batch, queries, _, levels, _, _ = offsets.shape
    return reference_points.expand(batch, queries, levels, 2)


def ms_deform_attn_fused(
    value: Tensor,
    spatial_shapes: Sequence[tuple[int, int]],
    reference_points: Tensor | None,
    offsets: Tensor,
    logits: Tensor,
    *,
    backend: str = "auto",
) -> Tensor:
    """Attend to a few points around each query, on every pyramid level.

    ``ms_deform_attn`` at ``reference_points + offsets / (width, height)`` with the weights
    ``softmax(logits)`` over levels and points together (Deformable DETR, Zhu et al. 2021, section
    4.1), which need not be made: no locations, no weights, and no gradients of them in memory.
    Positions are kept as a whole pixel and a fraction, so that fractions have all digits of
    float32 however large the level.

    Coordinates, softmax and sums are float32 whatever the type of ``value`` (float64 where an
    input is float64). Offsets in half precision are off by 1/64 pixel beyond 4 pixels, in bfloat16;
    keep them float32. Samples outside a level count as zero, those at NaN make the output NaN.
    Differentiable once in all four tensors.

    Args:
        value: tokens of all levels, one level after the other, each row-major: (B, N, M, D).
        spatial_shapes: (height, width) of each of the L levels, in the order of the tokens; plain
            ints, since a tensor would stall the device. A level may be empty.
        reference_points: (x, y) in [0, 1], (0, 0) being the outer corner of the first pixel, for
            all levels: (Q, 2) or (B, Q, 2), or for each: (B, Q, L, 2). None: the queries are the
            tokens, Q = N, and each starts from the centre of its own pixel.
        offsets: (x, y) in pixels of the sampled level: (B, Q, M, L, P, 2).
        logits: (B, Q, M, L, P) or (B, Q, M, L*P).
        backend: "triton", "cpp" (CPU), "reference", or "auto", which asks SEGBLOCKS_BACKEND and
            then takes the fastest that runs on the device.

    Returns:
        (B, Q, M*D), in the type of ``value``.

    Raises:
        ValueError: a wrong shape, type or device, or an explicit backend that cannot run here.

    Example:
        >>> import torch
        >>> shapes = [(4, 6), (2, 3)]
        >>> value = torch.randn(1, 30, 8, 32)
        >>> offsets, logits = torch.randn(1, 30, 8, 2, 4, 2), torch.randn(1, 30, 8, 8)
        >>> ms_deform_attn_fused(value, shapes, None, offsets, logits).shape
        torch.Size([1, 30, 256])
        >>> points = torch.rand(5, 2)
        >>> ms_deform_attn_fused(value, shapes, points, offsets[:, :5], logits[:, :5]).shape
        torch.Size([1, 5, 256])
    """
    flat = check_spatial_shapes(_OP, spatial_shapes)
    _check_tensors(value, flat, reference_points, offsets, logits)
    request = BACKENDS.request(backend)
    if reference_points is not None:
        reference_points = _by_level(reference_points, offsets)
    logits = logits.reshape(offsets.shape[:-1])
    return forward_op(value, flat, reference_points, offsets, logits, request)
