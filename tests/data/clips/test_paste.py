"""Layers lie where their paths say."""

from __future__ import annotations

import numpy as np
import torch

from segblocks.data.clips.cutouts import Layer
from segblocks.data.clips.paste import paste_layers
from segblocks.data.clips.paths import ObjectPath


def solid(height: int, width: int, color: int) -> Layer:
    colors = torch.full((4, height, width), float(color))
    colors[3] = 0
    colors[3, 1:-1, 1:-1] = 1
    return Layer(None, colors)


def path(x: float, y: float, *, angle: float = 0.0, step: float = 0.0) -> ObjectPath:
    return ObjectPath(0, (x, y), (step, 0.0), (0.0, 0.0), angle, 0.0, 0.0)


def test_later_layers_cover_earlier_ones():
    background = np.full((20, 30, 3), 9, np.uint8)
    # The middle of 7 pixels is the fourth, so that pixels fall on pixels.
    layers, paths = [solid(7, 7, 100), solid(5, 9, 200)], [path(10, 10), path(13, 10)]
    frame, owner = paste_layers(background, layers, paths, 0)
    expected = np.zeros((20, 30), np.uint8)
    expected[8:13, 8:13] = 1
    expected[9:12, 10:17] = 2
    assert np.array_equal(owner, expected)
    assert np.array_equal(frame[..., 1], np.array([9, 100, 200])[expected])
    assert (background == 9).all()


def test_layers_move_turn_and_leave():
    background = np.zeros((20, 30, 3), np.uint8)
    layer = solid(5, 11, 50)
    _, owner = paste_layers(background, [layer], [path(10, 10, angle=np.pi / 2)], 0)
    rows, columns = np.nonzero(owner)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (6, 14, 9, 11)
    moving = path(10, 10, step=9.0)
    areas = [(paste_layers(background, [layer], [moving], t)[1] == 1).sum() for t in range(4)]
    assert areas == [27, 27, 18, 0]
