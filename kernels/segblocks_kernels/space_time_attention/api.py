"""Space-time attention: the public function."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .._autocast import autocast
from .._check import (
    check_cell_sizes,
    check_float,
    check_same_device,
    check_same_dtype,
    check_shape,
    check_spatial_shapes,
    check_tensor,
)
from .cells import OP, check_same_grid, make_cells
from .op import BACKENDS, choose, forward_op, triton_refuses
from .reference import add_positions, space_time_attention_reference


def _check_tokens(
    q: Tensor, k: Tensor, v: Tensor, spatial_shapes: Sequence[tuple[int, int]]
) -> None:
    check_float(OP, q=q, k=k, v=v)
    check_same_dtype(OP, q=q, k=k, v=v)
    check_same_device(OP, q=q, k=k, v=v)
    check_shape(OP, "q", q, "B T N M D", {})
    sizes = dict(zip("BTNMD", q.shape, strict=True))
    check_shape(OP, "k", k, "B T N M D", sizes)
    check_shape(OP, "v", v, "B T N M D", sizes)
    tokens = sum(height * width for height, width in spatial_shapes)
    if q.shape[2] != tokens:
        raise ValueError(
            f"{OP}: q must have N={tokens} tokens, the sum of height*width over spatial_shapes "
            f"{[tuple(shape) for shape in spatial_shapes]}, got {tuple(q.shape)}"
        )


def _check_positions(q: Tensor, qk_position: Any) -> tuple[Tensor, ...]:
    """The positions of queries and keys, cast as q was."""
    if not isinstance(qk_position, Sequence) or len(qk_position) != 2:
        raise ValueError(
            f"{OP}: qk_position must be a pair of tensors or None, got {type(qk_position).__name__}"
        )
    names = ("qk_position[0]", "qk_position[1]")
    check_tensor(OP, **dict(zip(names, qk_position, strict=True)))
    positions = autocast(*qk_position)
    sizes = dict(zip("TNMD", q.shape[1:], strict=True))
    for name, position in zip(names, positions, strict=True):
        check_same_dtype(OP, **{"q": q, name: position})
        check_same_device(OP, **{"q": q, name: position})
        check_shape(OP, name, position, "T N M D", sizes)
    return positions


def _check_levels(
    spatial_shapes: Sequence[tuple[int, int]], cell_sizes: Sequence[int | None]
) -> list[int]:
    flat = check_spatial_shapes(OP, spatial_shapes)
    check_cell_sizes(OP, cell_sizes)
    if len(cell_sizes) != len(spatial_shapes):
        raise ValueError(
            f"{OP}: cell_sizes must have one entry a level ({len(spatial_shapes)} in "
            f"spatial_shapes), got {len(cell_sizes)}"
        )
    check_same_grid(spatial_shapes, cell_sizes)
    return flat


def space_time_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    spatial_shapes: Sequence[tuple[int, int]],
    cell_sizes: Sequence[int | None],
    *,
    qk_position: tuple[Tensor, Tensor] | None = None,
    scale: float | None = None,
    backend: str = "auto",
) -> Tensor:
    """Attend among all tokens, of all frames and several levels, that share a grid cell.

    The temporal attention of TarViS (Athar et al. 2023, section 3.1). Cell (i, j) of a level with
    cell size c covers its rows [i*c, (i+1)*c) and columns [j*c, (j+1)*c); the same cell of every
    level is one attention group. Unlike the published code, cells may hang over the border: they
    are then smaller. The Triton backend reads and writes tokens in place, so q, k and v may be
    slices of one packed projection; it is deterministic. Under autocast inputs are cast first.

    Args:
        q: queries (B, T, N, M, D), N running over the levels, one after the other, each row-major.
        k: keys, shaped like q.
        v: values, shaped like q.
        spatial_shapes: (height, width) of each level in the order of the tokens; plain ints. A
            level may be empty.
        cell_sizes: side of the level's cells in its own pixels, or None for a level that takes no
            part: its rows of the output and of all gradients are zero. The others must have the
            same number of cells down and across. TarViS: (2, 4, 8) at strides (32, 16, 8).
        qk_position: what is added to the queries and to the keys of every clip, (T, N, M, D) each,
            in the type of q; nothing by default. Projections are linear: with the projected
            positions here, q and k need only be projections of the tokens.
        scale: what scores are multiplied with; 1/sqrt(D) by default.
        backend: "triton" (float32 and half types, D <= 256, scale > 0), "reference", or "auto",
            which asks SEGBLOCKS_BACKEND and then takes the fastest that runs.

    Returns:
        (B, T, N, M, D) in the type of q.

    Raises:
        ValueError: a wrong shape, type, device or grid, or an explicit backend that cannot run.

    Example:
        >>> q, k, v = torch.randn(3, 1, 2, 4 * 6 + 2 * 3, 8, 32)
        >>> space_time_attention(q, k, v, [(2, 3), (4, 6)], (1, 2)).shape
        torch.Size([1, 2, 30, 8, 32])

        Divided attention, as in TimeSformer (Bertasius et al. 2021): through time alone, where a
        cell is a pixel, and through space alone, where each frame is a clip and has one cell.

        >>> q, k, v = torch.randn(3, 1, 4, 5 * 7, 8, 32)
        >>> through_time = space_time_attention(q, k, v, [(5, 7)], (1,))
        >>> frames = [x.transpose(0, 1) for x in (q, k, v)]
        >>> through_space = space_time_attention(*frames, [(5, 7)], (7,)).transpose(0, 1)
        >>> through_time.shape == through_space.shape == q.shape
        True
    """
    check_tensor(OP, q=q, k=k, v=v)
    shapes = _check_levels(spatial_shapes, cell_sizes)
    q, k, v = autocast(q, k, v)
    _check_tokens(q, k, v, spatial_shapes)
    q_position = k_position = None
    if qk_position is not None:
        q_position, k_position = _check_positions(q, qk_position)
    request = BACKENDS.request(backend)
    sides = [0 if cell is None else cell for cell in cell_sizes]
    if scale is None:
        scale = 1.0 / math.sqrt(max(q.shape[-1], 1))
    if request == "triton" and (reason := triton_refuses(q, scale)):
        raise ValueError(f"{OP}: backend 'triton' cannot run: {reason}")
    # An exported program keeps the operator, and with it the choice. Elsewhere the reference goes
    # without: PyTorch then differentiates its own attention faster, and compilers see through it.
    if choose(request, q, scale) == "reference" and not torch.compiler.is_exporting():
        q, k = add_positions(q, k, q_position, k_position)
        return space_time_attention_reference(q, k, v, make_cells(shapes, sides), scale)
    return forward_op(q, k, v, shapes, sides, scale, request, q_position, k_position)[0]
