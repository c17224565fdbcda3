"""Space-time attention: the public function."""

from __future__ import annotations

import math
from collections.abc import Sequence

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
from .reference import space_time_attention_reference


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
        scale: what scores are multiplied with; 1/sqrt(D) by default.
        backend: "triton" (float32 and half types, D <= 256), "reference", or "auto", which asks
            SEGBLOCKS_BACKEND and then takes the fastest that runs.

    Returns:
        (B, T, N, M, D) in the type of q.

    Raises:
        ValueError: a wrong shape, type, device or grid, or an explicit backend that cannot run.

    Example:
        >>> q, k, v = torch.randn(3, 1, 2, 4 * 6 + 2 * 3, 8, 32)
        >>> space_time_attention(q, k, v, [(2, 3), (4, 6)], (1, 2)).shape
        torch.Size([1, 2, 30, 8, 32])
    """
    check_tensor(OP, q=q, k=k, v=v)
    shapes = _check_levels(spatial_shapes, cell_sizes)
    q, k, v = autocast(q, k, v)
    _check_tokens(q, k, v, spatial_shapes)
    request = BACKENDS.request(backend)
    if request == "triton" and (reason := triton_refuses(q)):
        raise ValueError(f"{OP}: backend 'triton' cannot run: {reason}")
    sides = [0 if cell is None else cell for cell in cell_sizes]
    if scale is None:
        scale = 1.0 / math.sqrt(max(q.shape[-1], 1))
    # An exported program keeps the operator, and with it the choice. Elsewhere the reference goes
    # without: PyTorch then differentiates its own attention faster, and compilers see through it.
    if choose(request, q) == "reference" and not torch.compiler.is_exporting():
        return space_time_attention_reference(q, k, v, make_cells(shapes, sides), scale)
    return forward_op(q, k, v, shapes, sides, scale, request)[0]
