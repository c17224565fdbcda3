"""The specification of space-time attention: pad and permute into cells, then dense attention."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from .cells import Cells, Level


def _level_to_cells(x: Tensor, level: Level) -> Tensor:
    batch, frames, _, heads, dim = x.shape
    rows, columns = level.grid
    side = level.cell
    stop = level.start + level.height * level.width
    plane = x[:, :, level.start : stop].unflatten(2, (level.height, level.width))
    if level.ragged:
        below, right = rows * side - level.height, columns * side - level.width
        plane = F.pad(plane, (0, 0, 0, 0, 0, right, 0, below))
    plane = plane.reshape(batch, frames, rows, side, columns, side, heads, dim)
    plane = plane.permute(0, 2, 4, 1, 3, 5, 6, 7)
    return plane.reshape(batch * rows * columns, frames * side * side, heads, dim)


def _level_from_cells(x: Tensor, level: Level, batch: int, frames: int) -> Tensor:
    rows, columns = level.grid
    side = level.cell
    heads, dim = x.shape[2:]
    plane = x.reshape(batch, rows, columns, frames, side, side, heads, dim)
    plane = plane.permute(0, 3, 1, 4, 2, 5, 6, 7)
    plane = plane.reshape(batch, frames, rows * side, columns * side, heads, dim)
    return plane[:, :, : level.height, : level.width].flatten(2, 3)


def to_cells(x: Tensor, cells: Cells) -> Tensor:
    """Sort tokens (B, T, N, M, D) into cells (B * cells, M, slots, D), zeros beyond the border."""
    return torch.cat([_level_to_cells(x, level) for level in cells.levels], dim=1).transpose(1, 2)


def from_cells(x: Tensor, cells: Cells, batch: int, frames: int) -> Tensor:
    """Undo ``to_cells``; tokens of no cell become zero."""
    x = x.transpose(1, 2)
    heads, dim = x.shape[2:]
    parts = x.split([frames * level.cell**2 for level in cells.levels], dim=1)
    pieces = []
    filled = 0
    for level, part in zip(cells.levels, parts, strict=True):
        if level.start > filled:
            pieces.append(x.new_zeros(batch, frames, level.start - filled, heads, dim))
        pieces.append(_level_from_cells(part, level, batch, frames))
        filled = level.start + level.height * level.width
    if cells.num_tokens > filled:
        pieces.append(x.new_zeros(batch, frames, cells.num_tokens - filled, heads, dim))
    return torch.cat(pieces, dim=2)


def slot_mask(cells: Cells, batch: int, frames: int, device: torch.device) -> Tensor | None:
    """Which slots (B * cells, 1, 1, slots) hold a token; None where all do."""
    if not cells.ragged:
        return None
    ones = torch.ones((1, frames, cells.num_tokens, 1, 1), device=device)
    return (to_cells(ones, cells) > 0).mT.repeat(batch, 1, 1, 1)


def nothing_to_do(q: Tensor, cells: Cells) -> bool:
    """Whether no token of ``q`` is in any cell."""
    # Compilers do not know whether a tuple of sizes that change is empty, but how long it is.
    return len(cells.levels) == 0 or q.numel() == 0


def add_positions(
    q: Tensor, k: Tensor, q_position: Tensor | None, k_position: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Queries and keys with their positions (T, N, M, D), where there are any."""
    return (
        q if q_position is None else q + q_position,
        k if k_position is None else k + k_position,
    )


def _zeros_with_gradients(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return (q + k + v).masked_fill(torch.ones((), dtype=torch.bool, device=q.device), 0.0)


def space_time_attention_reference(
    q: Tensor, k: Tensor, v: Tensor, cells: Cells, scale: float
) -> Tensor:
    """Attend inside cells with dense PyTorch attention, differentiably and on any device.

    Args:
        q: (B, T, N, M, D).
        k: (B, T, N, M, D).
        v: (B, T, N, M, D).
        cells: which tokens attend to each other.
        scale: what scores are multiplied with.

    Returns:
        (B, T, N, M, D), zero for tokens of no cell.
    """
    if nothing_to_do(q, cells):
        return _zeros_with_gradients(q, k, v)
    batch, frames = q.shape[:2]
    out = F.scaled_dot_product_attention(
        to_cells(q, cells),
        to_cells(k, cells),
        to_cells(v, cells),
        attn_mask=slot_mask(cells, batch, frames, q.device),
        scale=scale,
    )
    return from_cells(out, cells, batch, frames)


# Scores that the backward holds at a time; a clip of 12 frames at 480p would need 910 million.
_SCORES_AT_ONCE = 1 << 25


def _cell_gradients(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    out: Tensor,
    grad_out: Tensor,
    mask: Tensor | None,
    scale: float,
    needs: Sequence[bool],
) -> list[Tensor | None]:
    dtype = torch.promote_types(q.dtype, torch.float32)
    q, k, v, out, grad_out = (x.to(dtype) for x in (q, k, v, out, grad_out))
    scores = q @ k.mT * scale
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    weights = scores.softmax(-1)
    grad_q = grad_k = None
    if needs[0] or needs[1]:
        delta = (grad_out * out).sum(-1, keepdim=True)
        grad_scores = weights * (grad_out @ v.mT - delta) * scale
        grad_q = grad_scores @ k if needs[0] else None
        grad_k = grad_scores.mT @ q if needs[1] else None
    return [grad_q, grad_k, weights.mT @ grad_out if needs[2] else None]


def space_time_attention_backward_reference(
    grad_out: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    out: Tensor,
    cells: Cells,
    scale: float,
    needs: Sequence[bool] = (True, True, True),
) -> list[Tensor | None]:
    """The gradients of q, k and v that ``needs`` asks for, some cells at a time.

    The README has the formulae.
    """
    if nothing_to_do(q, cells):
        zeros = (torch.zeros(x.shape, dtype=x.dtype, device=x.device) for x in (q, k, v))
        return [zero if needed else None for zero, needed in zip(zeros, needs, strict=True)]
    batch, frames = q.shape[:2]
    sorted_in = [to_cells(x, cells) for x in (q, k, v, out, grad_out)]
    mask = slot_mask(cells, batch, frames, q.device)
    _, heads, slots, _ = sorted_in[0].shape
    step = max(1, _SCORES_AT_ONCE // (heads * slots**2))
    parts: list[list[Tensor]] = [[], [], []]
    for first in range(0, batch * cells.num_cells, step):
        some = slice(first, first + step)
        chunk = (x[some] for x in sorted_in)
        here = None if mask is None else mask[some]
        grads = _cell_gradients(*chunk, mask=here, scale=scale, needs=needs)
        for part, grad in zip(parts, grads, strict=True):
            if grad is not None:
                part.append(grad.to(q.dtype))
    return [from_cells(torch.cat(p), cells, batch, frames) if p else None for p in parts]
