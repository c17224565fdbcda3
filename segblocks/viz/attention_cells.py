"""Which tokens one token attends to in space-time attention."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor

from segblocks.nn.temporal_attention import TemporalAttentionLayer
from segblocks.viz.capture import Call
from segblocks.viz.heat import draw_heat
from segblocks.viz.tokens import Shapes, spread_over_pixels


class CellAttention(NamedTuple):
    """What one token attends to.

    Args:
        weights: (M, T, N), float32 at least, of sum 1 for each head; 0 outside of the token's cell.
        cell: (N,) bool, the tokens of a frame that are in its cell.
        spatial_shapes: (height, width) of each level.
    """

    weights: Tensor
    cell: Tensor
    spatial_shapes: Shapes


@torch.no_grad()
def attention_cell(call: Call, frame: int, token: int, *, clip: int = 0) -> CellAttention:
    """Compute the attention of one token in a captured temporal layer.

    The cell is local in space and holds all frames (TarViS section 3.4, Fig. 3).

    Args:
        call: of a :class:`~segblocks.nn.TemporalAttentionLayer`.
        frame: of the token, an index into the clip.
        token: which one of the frame; :func:`~segblocks.viz.token_at` finds that of a pixel.
        clip: which of the B clips.

    Returns:
        Its weights, and its cell.

    Raises:
        TypeError: a call of another module.
        ValueError: no such token, or one of a level that takes no part.

    Example:
        >>> from segblocks.viz import capture
        >>> layer = TemporalAttentionLayer(16, 4, hidden_dim=32)
        >>> tokens, positions = torch.zeros(1, 3, 40, 16), torch.zeros(3, 40, 16)
        >>> with capture(layer, TemporalAttentionLayer) as calls:
        ...     _ = layer(tokens, positions, [(2, 4), (4, 8)], [1, 2])
        >>> attended = attention_cell(calls[0], frame=0, token=0)
        >>> attended.weights.shape, attended.cell.sum().item()
        (torch.Size([4, 3, 40]), 5)
    """
    layer = call.module
    if not isinstance(layer, TemporalAttentionLayer):
        raise TypeError(
            f"attention_cell: call must be of a TemporalAttentionLayer, got {type(layer).__name__}"
        )
    shapes = call.inputs["spatial_shapes"]
    tokens = call.inputs["tokens"][clip]
    cells = _cell_of_each_token(shapes, call.inputs["cell_sizes"]).to(tokens.device)
    num_frames, num_tokens = tokens.shape[:2]
    if not (0 <= frame < num_frames and 0 <= token < num_tokens and cells[token] >= 0):
        raise ValueError(
            f"attention_cell: frame must be 0 to {num_frames - 1} and token 0 to "
            f"{num_tokens - 1}, of a level with cells, got {frame} and {token}"
        )
    cell = cells == cells[token]
    heads = (layer.attention.num_heads, -1)
    # Under autocast the tokens may be in another type than the weights.
    placed = (tokens + call.inputs["positions"]).to(layer.attention.query.weight.dtype)
    query = _at_least_single(layer.attention.query(placed[frame, token]).unflatten(-1, heads))
    keys = _at_least_single(layer.attention.key(placed).unflatten(-1, heads))
    scores = torch.einsum("md,tnmd->mtn", query, keys) / query.shape[-1] ** 0.5
    scores = scores.masked_fill(~cell, -torch.inf)
    return CellAttention(scores.flatten(1).softmax(-1).view_as(scores), cell, shapes)


def draw_attention_cell(
    frames: Sequence[NDArray[np.uint8]], attended: CellAttention
) -> list[NDArray[np.uint8]]:
    """Draw what one token attends to over the frames of its clip, the mean of the heads.

    A token's weight is spread over what it covers, so that a coarse level does not look more
    attended to than a fine one. A frame of white surrounds the cell.

    Args:
        frames: T RGB frames (H, W, 3), as the model sees them, padding included.
        attended: of :func:`attention_cell`.

    Returns:
        T frames, (H, W, 3); one brightness means the same in all of them.

    Raises:
        ValueError: frames that are not T, or whose size the levels do not divide.

    Example:
        >>> weights = torch.zeros(1, 2, 8)
        >>> weights[0, 1, 0] = 1
        >>> attended = CellAttention(weights, torch.arange(8) == 0, [(2, 4)])
        >>> first, second = draw_attention_cell(np.zeros((2, 16, 32, 3), np.uint8), attended)
        >>> first[4, 4].tolist(), second[4, 4].tolist()
        ([0, 0, 0], [252, 255, 164])
    """
    weights = attended.weights.float().mean(0).cpu()
    if len(frames) != len(weights):
        raise ValueError(
            f"draw_attention_cell: frames must be the {len(weights)} of the clip, got {len(frames)}"
        )
    size = (frames[0].shape[0], frames[0].shape[1])
    heat = spread_over_pixels(weights, size, attended.spatial_shapes).numpy()
    covered = spread_over_pixels(attended.cell.float().cpu(), size, attended.spatial_shapes)
    top = float(heat.max())
    return [
        _outline(draw_heat(frame, values, top), covered.numpy() > 0)
        for frame, values in zip(frames, heat, strict=True)
    ]


def _at_least_single(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _cell_of_each_token(shapes: Shapes, cell_sizes: Sequence[int | None]) -> Tensor:
    """The number of each token's cell, row-major; -1 where the level takes no part."""
    numbers = []
    for (height, width), side in zip(shapes, cell_sizes, strict=True):
        if side is None:
            numbers.append(torch.full((height * width,), -1))
            continue
        rows, columns = torch.arange(height) // side, torch.arange(width) // side
        across = -(-width // side)
        numbers.append((rows[:, None] * across + columns).flatten())
    return torch.cat(numbers)


def _outline(frame: NDArray[np.uint8], inside: NDArray[np.bool_]) -> NDArray[np.uint8]:
    rows, columns = np.nonzero(inside)
    image = Image.fromarray(frame)
    box = (int(columns.min()), int(rows.min()), int(columns.max()), int(rows.max()))
    ImageDraw.Draw(image).rectangle(box, outline="white")
    return np.array(image)
