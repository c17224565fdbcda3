"""Colours of ids."""

from __future__ import annotations

import numpy as np
import pytest

from segblocks.ops.palette import davis_palette
from segblocks.viz import id_color, id_colors


def test_palette_is_the_one_of_voc() -> None:
    palette = davis_palette()
    known = {0: (0, 0, 0), 1: (128, 0, 0), 2: (0, 128, 0), 3: (128, 128, 0), 4: (0, 0, 128)}
    known |= {8: (64, 0, 0), 15: (192, 128, 128), 19: (128, 192, 0), 255: (224, 224, 192)}
    for number, color in known.items():
        assert tuple(palette[number]) == color
    assert len(np.unique(palette, axis=0)) == 256
    with pytest.raises(ValueError, match="read-only"):
        palette[0] = 1


def test_high_ids_have_colours_and_zero_is_black() -> None:
    colors = id_colors(np.array([0, 1, 255, 256, 511, 100_000]))
    assert tuple(colors[0]) == (0, 0, 0)
    assert (colors[1:].max(axis=1) > 0).all()
    np.testing.assert_array_equal(colors[1], colors[3])


def test_one_colour_is_the_one_of_the_array() -> None:
    ids = np.array([0, 1, 3, 255, 256])
    assert [id_color(i) for i in ids.tolist()] == [tuple(c) for c in id_colors(ids).tolist()]
