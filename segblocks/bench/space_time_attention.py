"""Space-time attention against gathering cells, dense attention, and scattering back."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from segblocks.bench.flex import flex_attention, flex_unavailable
from segblocks.bench.shapes import SPACE_TIME, SpaceTime
from segblocks.bench.suite import (
    OURS,
    TOLERANCE,
    Contender,
    Problem,
    Setting,
    Suite,
    xformers_unavailable,
)
from segblocks.ops import space_time_attention


class _Given(NamedTuple):
    """Sizes, and token numbers (cells, tokens of a cell in a frame) with their inverse."""

    shape: SpaceTime
    table: Tensor
    inverse: Tensor


def _make(shape: SpaceTime, setting: Setting) -> Problem:
    """q, k and v are slices of one packed projection, as the layer makes them."""
    generator = torch.Generator().manual_seed(0)
    table = cell_table(shape).to(setting.device)
    tokens = table.numel()
    packed = torch.randn(
        1, shape.frames, tokens, 3, shape.heads, shape.dim, generator=generator
    ).to(setting.device, setting.torch_dtype)
    return Problem((packed,), _Given(shape, table, table.flatten().argsort()))


def cell_table(shape: SpaceTime) -> Tensor:
    """Number the tokens of each cell, as TarViS gathers them.

    Args:
        shape: levels and cells.

    Returns:
        (cells, tokens of a cell in a frame) int64.
    """
    columns = []
    start = 0
    for (height, width), side in zip(shape.levels, shape.cells, strict=True):
        numbers = start + torch.arange(height * width).view(height, width)
        patches = numbers.unfold(0, side, side).unfold(1, side, side)
        columns.append(patches.reshape(-1, side * side))
        start += height * width
    return torch.cat(columns, dim=1)


def _in_place(backend: str) -> Callable[[_Given, Tensor], Tensor]:
    def attend(given: _Given, packed: Tensor) -> Tensor:
        q, k, v = packed.unbind(3)
        shape = given.shape
        return space_time_attention(q, k, v, shape.levels, shape.cells, backend=backend)

    return attend


Cells = Callable[[Tensor, Tensor, Tensor], Tensor]


def _gathered(attend: Cells) -> Callable[[_Given, Tensor], Tensor]:
    """Gather tokens into (B*cells, T*size, M, D), attend there, and put them back."""

    def run(given: _Given, packed: Tensor) -> Tensor:
        batch, frames, tokens, _, heads, dim = packed.shape
        cells, size = given.table.shape

        def gather(x: Tensor) -> Tensor:
            x = x[:, :, given.table].transpose(1, 2)
            return x.reshape(batch * cells, frames * size, heads, dim)

        out = attend(*(gather(x) for x in packed.unbind(3)))
        out = out.reshape(batch, cells, frames, size, heads, dim).transpose(1, 2)
        return out.reshape(batch, frames, tokens, heads, dim)[:, :, given.inverse]

    return run


def _sdpa(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2)


def _with_weights(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    weights = (q @ k.mT * q.shape[-1] ** -0.5).softmax(-1)
    return (weights @ v).transpose(1, 2)


def _xformers(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    from xformers.ops import memory_efficient_attention  # type: ignore[import-not-found]

    return memory_efficient_attention(q, k, v)


def _flex(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    return flex_attention()(q, k, v).transpose(1, 2)


SUITE = Suite(
    "space_time_attention",
    SPACE_TIME,
    small=("256x448_T2", "256x448_T8_small_cells", "480p_T3"),
    make=_make,
    oracle=_in_place("reference"),
    contenders=(
        Contender(OURS, "what a call that names no backend runs", _in_place("auto")),
        Contender("reference", "our specification: permute, SDPA", _in_place("reference")),
        Contender("gather_sdpa", "gather cells, SDPA, scatter", _gathered(_sdpa)),
        Contender(
            "gather_weights",
            "gather cells, attention with its matrix, scatter: TarViS as published",
            _gathered(_with_weights),
        ),
        Contender(
            "gather_flex",
            "gather cells, FlexAttention, scatter",
            _gathered(_flex),
            flex_unavailable,
        ),
        Contender(
            "gather_xformers",
            "gather cells, xformers, scatter",
            _gathered(_xformers),
            xformers_unavailable,
        ),
    ),
    tolerance=TOLERANCE,
)
