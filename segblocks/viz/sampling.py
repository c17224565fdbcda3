"""Where deformable attention samples."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor

from segblocks.nn.deformable_attention import DeformableAttention
from segblocks.viz.capture import Call
from segblocks.viz.tokens import Shapes
from segblocks_kernels.ms_deform_attn_fused import reference

# Of the levels, coarse to fine.
_LEVEL_COLORS = ((255, 176, 0), (220, 38, 127), (100, 143, 255), (0, 200, 140))
_LEAST_RADIUS = 2.0


class SamplingPoints(NamedTuple):
    """Where each query samples, and with which weight.

    Args:
        locations: (B, Q, M, L, P, 2), (x, y) in [0, 1] of a frame where they lie inside of it.
        weights: (B, Q, M, L, P), of sum 1 over the levels and points of a head.
        spatial_shapes: (height, width) of each level.
    """

    locations: Tensor
    weights: Tensor
    spatial_shapes: Shapes


@torch.no_grad()
def sampling_points(call: Call) -> SamplingPoints:
    """Tell where a captured deformable attention has sampled.

    Args:
        call: of a :class:`~segblocks.nn.DeformableAttention`. Those of a neck have one row a frame,
            B * T, and one query a token.

    Returns:
        Locations and weights, float32 at least.

    Raises:
        TypeError: a call of another module.

    Example:
        >>> from segblocks.viz import capture
        >>> module = DeformableAttention(16, 4, num_levels=2, num_points=2)
        >>> tokens = torch.zeros(1, 30, 16)
        >>> with capture(module, DeformableAttention) as calls:
        ...     _ = module(tokens, None, tokens, [(2, 3), (4, 6)])
        >>> sampling_points(calls[0]).locations.shape
        torch.Size([1, 30, 4, 2, 2, 2])
    """
    module = call.module
    if not isinstance(module, DeformableAttention):
        raise TypeError(
            f"sampling_points: call must be of a DeformableAttention, got {type(module).__name__}"
        )
    # Under autocast the query may be in another type than the weights.
    query = call.inputs["query"].to(module.sampling_offsets.weight.dtype)
    shapes = call.inputs["spatial_shapes"]
    points = call.inputs["reference_points"]
    if points is not None:
        points = _for_each_level(points)
    offsets = module.sampling_offsets(query).unflatten(-1, (*module.points_shape, 2))
    logits = module.attention_weights(query).unflatten(-1, module.points_shape)
    dtype = torch.promote_types(query.dtype, torch.float32)
    return SamplingPoints(
        reference.sampling_locations(points, shapes, offsets, dtype),
        reference.attention_weights(logits, dtype),
        shapes,
    )


def draw_sampling_points(
    frame: NDArray[np.uint8],
    points: SamplingPoints,
    token: int,
    *,
    row: int = 0,
    center: tuple[float, float] | None = None,
) -> NDArray[np.uint8]:
    """Draw the samples of one query over a frame: a dot each, of an area that follows its weight.

    The colour tells the level: yellow, pink, blue, green, in their order. Samples outside of the
    frame, where features are 0, are not drawn.

    Args:
        frame: RGB (H, W, 3), as the model sees it, padding included.
        points: of :func:`sampling_points`.
        token: which query; :func:`~segblocks.viz.token_at` finds that of a pixel.
        row: which of the B rows; in a neck, the frame.
        center: (x, y) in pixels of the query, marked by a cross; None marks nothing.

    Returns:
        A new frame, (H, W, 3).

    Raises:
        ValueError: no such query or row.

    Example:
        >>> points = SamplingPoints(
        ...     torch.full((1, 1, 1, 1, 1, 2), 0.5), torch.ones(1, 1, 1, 1, 1), [(2, 2)])
        >>> drawn = draw_sampling_points(np.zeros((9, 9, 3), np.uint8), points, 0)
        >>> drawn[4, 4].tolist()
        [255, 176, 0]
    """
    batch, queries = points.weights.shape[:2]
    if not (0 <= token < queries and 0 <= row < batch):
        raise ValueError(
            f"draw_sampling_points: token must be 0 to {queries - 1} and row 0 to {batch - 1}, "
            f"got {token} and {row}"
        )
    height, width = frame.shape[:2]
    weights = points.weights[row, token]
    places = points.locations[row, token] * points.locations.new_tensor([width, height]) - 0.5
    full = max(_LEAST_RADIUS, min(height, width) / 60)
    # Weights are told by how they compare with one that all samples would share alike.
    radii = (full * (weights * weights[0].numel()).sqrt()).clamp(min=_LEAST_RADIUS / 2)
    image = Image.fromarray(frame)
    pen = ImageDraw.Draw(image)
    for level in range(weights.shape[1]):
        color = _LEVEL_COLORS[level % len(_LEVEL_COLORS)]
        of_level = zip(places[:, level].flatten(0, 1), radii[:, level].flatten(), strict=True)
        for (x, y), radius in ((place.tolist(), float(r)) for place, r in of_level):
            box = (x - radius, y - radius, x + radius, y + radius)
            pen.ellipse(box, fill=color, outline="black" if radius > _LEAST_RADIUS else None)
    if center is not None:
        _draw_cross(pen, center, 2 * full)
    return np.array(image)


def _for_each_level(reference_points: Tensor) -> Tensor:
    """As (B or 1, Q, L or 1, 2)."""
    if reference_points.dim() < 4:
        reference_points = reference_points[..., None, :]
    return reference_points if reference_points.dim() == 4 else reference_points[None]


def _draw_cross(pen: ImageDraw.ImageDraw, center: tuple[float, float], reach: float) -> None:
    x, y = center
    for width, color in ((5, "black"), (3, "white")):
        pen.line((x - reach, y, x + reach, y), fill=color, width=width)
        pen.line((x, y - reach, x, y + reach), fill=color, width=width)
