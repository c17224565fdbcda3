"""The cells of space-time attention, against what the layer returned."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from segblocks.nn import MultiheadAttention, TemporalAttentionLayer
from segblocks.viz import Call, attention_cell, capture, draw_attention_cell

SHAPES = [(2, 3), (4, 6)]
CELLS = [1, 2]


def run(shapes: list[tuple[int, int]], cells: list[int | None]) -> tuple[list[Call], Tensor]:
    """The call of a layer, and what its attention returned."""
    torch.manual_seed(0)
    layer = TemporalAttentionLayer(16, 4, hidden_dim=32).double()
    num_tokens = sum(h * w for h, w in shapes)
    tokens = torch.randn(2, 3, num_tokens, 16, dtype=torch.double)
    positions = torch.randn(3, num_tokens, 16, dtype=torch.double)
    with (
        capture(layer, MultiheadAttention) as inner,
        capture(layer, TemporalAttentionLayer) as calls,
        torch.no_grad(),
    ):
        layer(tokens, positions, shapes, cells)
    return calls, inner[0].output


@pytest.mark.parametrize(
    ("shapes", "cells", "tokens"),
    [
        (SHAPES, CELLS, (0, 5, 6, 29)),
        ([(3, 5), (6, 10)], [2, 4], (0, 14, 15, 74)),
        ([(2, 3), (4, 6)], [1, None], (0, 5)),
    ],
)
def test_values_in_these_weights_are_what_the_layer_attended_to(shapes, cells, tokens) -> None:
    calls, output = run(shapes, cells)
    attention = calls[0].module.attention
    assert isinstance(attention, MultiheadAttention)
    for clip, frame in ((0, 0), (1, 2)):
        value = attention.value(calls[0].inputs["tokens"][clip]).unflatten(-1, (4, -1))
        for token in tokens:
            attended = attention_cell(calls[0], frame, token, clip=clip)
            mixed = torch.einsum("mtn,tnmd->md", attended.weights, value).flatten()
            torch.testing.assert_close(attention.output(mixed), output[clip, frame, token])
            assert not attended.weights[..., ~attended.cell].any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_weights_are_single_precision_under_autocast_and_in_half_precision(dtype) -> None:
    layer = TemporalAttentionLayer(16, 4, hidden_dim=32).to(dtype)
    tokens, positions = torch.randn(1, 3, 30, 16).bfloat16(), torch.randn(3, 30, 16).bfloat16()
    with (
        torch.autocast("cpu", torch.bfloat16),
        capture(layer, TemporalAttentionLayer) as calls,
        torch.no_grad(),
    ):
        layer(tokens, positions, SHAPES, CELLS)
    weights = attention_cell(calls[0], 0, 4).weights
    assert weights.dtype == torch.float32
    torch.testing.assert_close(weights.sum((1, 2)), torch.ones(4))


def test_a_cell_holds_the_same_place_on_every_level() -> None:
    calls, _ = run(SHAPES, CELLS)
    cell = attention_cell(calls[0], 0, 4).cell
    assert cell.nonzero().flatten().tolist() == [4, 6 + 14, 6 + 15, 6 + 20, 6 + 21]


@pytest.mark.parametrize("where", [(3, 0), (0, 30), (0, 6), (0, -1)])
def test_tokens_must_take_part(where: tuple[int, int]) -> None:
    calls, _ = run(SHAPES, [1, None])
    with pytest.raises(ValueError, match="of a level with cells, got"):
        attention_cell(calls[0], *where)


def test_only_temporal_layers_have_cells() -> None:
    with pytest.raises(TypeError, match="of a TemporalAttentionLayer, got Linear"):
        attention_cell(Call("x", nn.Linear(2, 2), {}, None), 0, 0)


def test_heat_stays_in_the_cell_in_every_frame() -> None:
    calls, _ = run(SHAPES, CELLS)
    attended = attention_cell(calls[0], 1, 4)
    frames = [np.zeros((64, 96, 3), np.uint8) for _ in range(3)]
    for drawn in draw_attention_cell(frames, attended):
        rows, columns = np.nonzero(drawn.any(axis=2))
        assert (rows.min(), rows.max(), columns.min(), columns.max()) == (32, 63, 32, 63)
        assert drawn[33:63, 33:63].any(axis=2).all()
    with pytest.raises(ValueError, match="the 3 of the clip, got 2"):
        draw_attention_cell(frames[:2], attended)
