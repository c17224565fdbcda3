"""Paint cut-outs into frames, and tell which of them each pixel shows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from segblocks.data.clips.cutouts import Layer
from segblocks.data.clips.paths import ObjectPath
from segblocks.data.sample import Frame


def paste_layers(
    background: Frame, layers: Sequence[Layer], paths: Sequence[ObjectPath], t: int
) -> tuple[Frame, NDArray[np.uint8]]:
    """Paint objects over a frame, one after the other.

    Args:
        background: (H, W, 3) uint8.
        layers: at most 255; later ones cover earlier ones.
        paths: of each.
        t: the frame.

    Returns:
        The frame, and (H, W) uint8: 0 where the background shows, else the number, from 1, of the
        last object that covers the pixel by half or more.
    """
    canvas = torch.from_numpy(background).permute(2, 0, 1).float()
    owner = torch.zeros(canvas.shape[1:], dtype=torch.uint8)
    for number, (layer, path) in enumerate(zip(layers, paths, strict=True), 1):
        placed = _place(layer, path, t, (canvas.shape[1], canvas.shape[2]))
        if placed is None:
            continue
        (rows, columns), colors = placed
        opacity = colors[3]
        canvas[:, rows, columns].lerp_(colors[:3], opacity[None])
        owner[rows, columns].masked_fill_(opacity >= 0.5, number)
    frame = canvas.round_().byte().permute(1, 2, 0).contiguous().numpy()
    return frame, owner.numpy()


def _place(
    layer: Layer, path: ObjectPath, t: int, size: tuple[int, int]
) -> tuple[tuple[slice, slice], Tensor] | None:
    """The part of the frame that the layer reaches, with its colours there."""
    matrix, center = path.place(t)
    height, width = layer.size
    # From the middle of the layer to its corners, as (x, y).
    reach = np.abs(matrix) @ (width / 2, height / 2)
    low = np.maximum(np.floor(center - reach), 0).astype(int)
    high = np.minimum(np.ceil(center + reach) + 1, (size[1], size[0])).astype(int)
    if (low >= high).any():
        return None
    x = np.arange(low[0], high[0]) - center[0]
    y = (np.arange(low[1], high[1]) - center[1])[:, None]
    # grid_sample counts from -1 to 1 over the layer.
    back = np.linalg.inv(matrix) * [[2 / width], [2 / height]]
    grid = np.stack([back[0, 0] * x + back[0, 1] * y, back[1, 0] * x + back[1, 1] * y], axis=-1)
    colors = F.grid_sample(
        layer.colors[None],
        torch.from_numpy(grid.astype(np.float32))[None],
        padding_mode="border",
        align_corners=False,
    )[0]
    return (slice(low[1], high[1]), slice(low[0], high[0])), colors
