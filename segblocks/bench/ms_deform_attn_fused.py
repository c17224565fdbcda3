"""Deformable attention from offsets and logits, against making locations and weights first."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

from segblocks.bench.ms_deform_attn import draw, level_sizes, sample_stacked, token_centres
from segblocks.bench.shapes import DEFORMABLE, Deformable
from segblocks.bench.suite import OURS, TOLERANCE, Contender, Problem, Setting, Suite
from segblocks.ops import ms_deform_attn, ms_deform_attn_fused


class _Given(NamedTuple):
    """(height, width) of the levels, the centres of their tokens, and what offsets are over."""

    levels: tuple[tuple[int, int], ...]
    centres: Tensor
    sizes: Tensor


def _make(shape: Deformable, setting: Setting) -> Problem:
    centres = token_centres(shape.levels)[:, None, None, None].to(setting.device)
    sizes = level_sizes(shape.levels).to(setting.device)
    return Problem(draw(shape, setting), _Given(shape.levels, centres, sizes))


def _fused(backend: str) -> Callable[..., Tensor]:
    def attend(given: _Given, value: Tensor, offsets: Tensor, logits: Tensor) -> Tensor:
        return ms_deform_attn_fused(value, given.levels, None, offsets, logits, backend=backend)

    return attend


def _made(given: _Given, offsets: Tensor, logits: Tensor) -> tuple[Tensor, Tensor]:
    """Locations and weights, as a layer makes them."""
    weights = logits.flatten(-2).softmax(-1).view(logits.shape)
    return given.centres + offsets / given.sizes, weights


def _unfused(given: _Given, value: Tensor, offsets: Tensor, logits: Tensor) -> Tensor:
    return ms_deform_attn(value, given.levels, *_made(given, offsets, logits))


def _grid_sample(given: _Given, value: Tensor, offsets: Tensor, logits: Tensor) -> Tensor:
    return sample_stacked(given.levels, value, *_made(given, offsets, logits))


SUITE = Suite(
    "ms_deform_attn_fused",
    DEFORMABLE,
    small=("240p_T1", "480p_T1"),
    make=_make,
    oracle=_fused("reference"),
    contenders=(
        Contender(OURS, "what a call that names no backend runs", _fused("auto")),
        Contender("reference", "our specification", _fused("reference")),
        Contender("unfused", "locations and weights made first, ms_deform_attn", _unfused),
        Contender("grid_sample", "locations and weights made first, grid_sample", _grid_sample),
    ),
    tolerance=TOLERANCE,
)
