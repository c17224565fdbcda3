"""Deformable attention against grid_sample, and against the extension that others compile."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from segblocks.bench.shapes import DEFORMABLE, Deformable
from segblocks.bench.suite import OURS, TOLERANCE, Contender, Problem, Setting, Suite
from segblocks.ops import ms_deform_attn

_EXTENSION = "MultiScaleDeformableAttention"

# In pixels: much more than float32 rounds coordinates by, much less than one.
_MARGIN = 1e-3


class _Given(NamedTuple):
    levels: tuple[tuple[int, int], ...]


def token_centres(levels: Sequence[tuple[int, int]]) -> Tensor:
    """Return the pixel centres of all tokens, (x, y) in [0, 1].

    Args:
        levels: (height, width) of each.

    Returns:
        (N, 2).

    Example:
        >>> token_centres([(1, 2)]).tolist()
        [[0.25, 0.5], [0.75, 0.5]]
    """
    centres = []
    for height, width in levels:
        y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        centres.append(torch.stack(((x + 0.5) / width, (y + 0.5) / height), -1).flatten(0, 1))
    return torch.cat(centres)


def level_sizes(levels: Sequence[tuple[int, int]]) -> Tensor:
    """Return what turns pixels into [0, 1]: width and height of each level.

    Args:
        levels: (height, width) of each.

    Returns:
        (L, 1, 2).

    Example:
        >>> level_sizes([(2, 3)]).tolist()
        [[[3, 2]]]
    """
    return torch.tensor([(width, height) for height, width in levels])[:, None]


def draw(shape: Deformable, setting: Setting) -> tuple[Tensor, Tensor, Tensor]:
    """Draw values, offsets in pixels and logits: every token asks.

    Args:
        shape: sizes, and the deviation of the offsets.
        setting: device, and type of the values.

    Returns:
        (B, N, M, D), (B, N, M, L, P, 2) and (B, N, M, L, P); the latter two in float32.
    """
    generator = torch.Generator().manual_seed(0)
    tokens = sum(height * width for height, width in shape.levels)
    samples = (shape.frames, tokens, shape.heads, len(shape.levels), shape.points)
    offsets = torch.randn((*samples, 2), generator=generator) * shape.sigma
    offsets += 2 * _MARGIN * _near_whole_pixels(offsets, shape.levels)
    logits = torch.randn(samples, generator=generator)
    value = torch.randn(shape.frames, tokens, shape.heads, shape.dim, generator=generator)
    value = value.to(setting.device, setting.torch_dtype)
    return value, offsets.to(setting.device), logits.to(setting.device)


def _near_whole_pixels(offsets: Tensor, levels: Sequence[tuple[int, int]]) -> Tensor:
    """Where the gradient of bilinear sampling jumps, so that rounding would decide about it."""
    pixels = token_centres(levels)[:, None, None, None] * level_sizes(levels) - 0.5 + offsets
    return (pixels - pixels.round()).abs() < _MARGIN


def _make(shape: Deformable, setting: Setting) -> Problem:
    value, offsets, logits = draw(shape, setting)
    centres = token_centres(shape.levels).to(value.device)[:, None, None, None]
    locations = centres + offsets / level_sizes(shape.levels).to(value.device)
    weights = logits.flatten(-2).softmax(-1).view(logits.shape)
    return Problem((value, locations, weights), _Given(shape.levels))


def _ours(given: _Given, value: Tensor, locations: Tensor, weights: Tensor) -> Tensor:
    return ms_deform_attn(value, given.levels, locations, weights)


def _reference(given: _Given, value: Tensor, locations: Tensor, weights: Tensor) -> Tensor:
    return ms_deform_attn(value, given.levels, locations, weights, backend="reference")


def _grid_sample(given: _Given, value: Tensor, locations: Tensor, weights: Tensor) -> Tensor:
    return sample_stacked(given.levels, value, locations, weights)


def sample_stacked(
    levels: Sequence[tuple[int, int]], value: Tensor, locations: Tensor, weights: Tensor
) -> Tensor:
    """Do it with grid_sample and the samples of all levels in one tensor.

    Args:
        levels: (height, width) of each.
        value: (B, N, M, D).
        locations: (B, Q, M, L, P, 2) in [0, 1].
        weights: (B, Q, M, L, P).

    Returns:
        (B, Q, M*D) in the type of the values.
    """
    batch, _, heads, dim = value.shape
    # Autocast would bring grid_sample to float32, too.
    maps = value.float().permute(0, 2, 3, 1).flatten(0, 1)
    grids = (2 * locations - 1).transpose(1, 2).flatten(0, 1)
    sampled = []
    parts = maps.split([height * width for height, width in levels], dim=-1)
    for level, (size, part) in enumerate(zip(levels, parts, strict=True)):
        plane = part.unflatten(-1, size)
        sampled.append(F.grid_sample(plane, grids[:, :, level], align_corners=False))
    flat = weights.transpose(1, 2).flatten(0, 1).flatten(-2).unsqueeze(1)
    out = (torch.stack(sampled, dim=-2).flatten(-2) * flat).sum(-1)
    return out.view(batch, heads * dim, -1).transpose(1, 2).to(value.dtype)


class _Extension(torch.autograd.Function):
    """The operator of Deformable DETR, float32 alone."""

    @staticmethod
    def forward(ctx: Any, *inputs: Tensor) -> Tensor:
        ctx.save_for_backward(*inputs)
        return import_module(_EXTENSION).ms_deform_attn_forward(*inputs, 1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        grad = grads[0].contiguous()
        module = import_module(_EXTENSION)
        value, at, weights = module.ms_deform_attn_backward(*ctx.saved_tensors, grad, 1)
        return value, None, None, at, weights


def _extension(given: _Given, value: Tensor, locations: Tensor, weights: Tensor) -> Tensor:
    shapes = torch.tensor(given.levels, device=value.device)
    sizes = shapes.prod(1)
    starts = sizes.cumsum(0) - sizes
    out = _Extension.apply(value.float(), shapes, starts, locations, weights)
    return out.to(value.dtype)  # type: ignore[union-attr]


def _extension_unavailable(setting: Setting) -> str | None:
    if setting.device.type != "cuda":
        return "Deformable DETR's extension is for CUDA alone"
    try:
        import_module(_EXTENSION)
    except ImportError:
        return f"Deformable DETR's extension {_EXTENSION} is not compiled here"
    return None


SUITE = Suite(
    "ms_deform_attn",
    DEFORMABLE,
    small=("240p_T1", "480p_T1", "480p_T3"),
    make=_make,
    oracle=_reference,
    contenders=(
        Contender(OURS, "what a call that names no backend runs", _ours),
        Contender("reference", "our specification: grid_sample, levels summed up", _reference),
        Contender("grid_sample", "grid_sample, levels stacked: Deformable DETR's", _grid_sample),
        Contender("cuda_op", "the operator of Deformable DETR", _extension, _extension_unavailable),
    ),
    tolerance=TOLERANCE,
)
