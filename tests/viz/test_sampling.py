"""Where deformable attention samples, against what it returned."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from segblocks.nn import DeformableAttention
from segblocks.ops import ms_deform_attn
from segblocks.viz import (
    Call,
    SamplingPoints,
    capture,
    draw_sampling_points,
    sampling_points,
    token_center,
)

SHAPES = [(2, 3), (4, 6)]
TOKENS = 30


def deformable() -> DeformableAttention:
    torch.manual_seed(0)
    module = DeformableAttention(16, 4, num_levels=2, num_points=3)
    for linear in (module.sampling_offsets, module.attention_weights):
        nn.init.normal_(linear.weight)
    return module.double()


@pytest.mark.parametrize("points", [None, (TOKENS, 2), (2, TOKENS, 2), (2, TOKENS, 2, 2)])
def test_attention_at_the_points_is_what_the_module_returned(points) -> None:
    module = deformable()
    tokens = torch.randn(2, TOKENS, 16, dtype=torch.double)
    reference = None if points is None else torch.rand(points, dtype=torch.double)
    with capture(module, DeformableAttention) as calls:
        output = module(tokens * 0.3, reference, tokens, SHAPES)
    found = sampling_points(calls[0])
    assert found.weights.shape == (2, TOKENS, 4, 2, 3)
    value = module.value(tokens).unflatten(-1, (4, -1))
    locations = found.locations.expand(2, TOKENS, 4, 2, 3, 2)
    again = module.output(ms_deform_attn(value, SHAPES, locations, found.weights))
    torch.testing.assert_close(again, output)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_points_are_single_precision_under_autocast_and_in_half_precision(dtype) -> None:
    module = deformable().to(dtype)
    tokens = torch.randn(1, TOKENS, 16).bfloat16()
    with (
        torch.autocast("cpu", torch.bfloat16),
        capture(module, DeformableAttention) as calls,
        torch.no_grad(),
    ):
        module(tokens, None, tokens, SHAPES)
    points = sampling_points(calls[0])
    assert points.locations.dtype == points.weights.dtype == torch.float32
    torch.testing.assert_close(points.weights.sum((-1, -2)), torch.ones(1, TOKENS, 4))


def test_only_deformable_attention_samples() -> None:
    with pytest.raises(TypeError, match="of a DeformableAttention, got Linear"):
        sampling_points(Call("x", nn.Linear(2, 2), {}, None))


def one_sample(x: float, y: float, *, level: int) -> SamplingPoints:
    locations = torch.full((1, TOKENS, 1, 2, 1, 2), -9.0)
    locations[0, 7, 0, level, 0] = torch.tensor([x, y])
    return SamplingPoints(locations, torch.full((1, TOKENS, 1, 2, 1), 0.5), SHAPES)


def test_each_level_has_its_colour_where_it_samples() -> None:
    frame = np.zeros((64, 96, 3), np.uint8)
    drawn = [draw_sampling_points(frame, one_sample(0.25, 0.5, level=level), 7) for level in (0, 1)]
    for picture in drawn:
        rows, columns = np.nonzero(picture.any(axis=2))
        np.testing.assert_allclose((rows.mean(), columns.mean()), (31.5, 23.5), atol=0.51)
    assert tuple(drawn[0][32, 24]) != tuple(drawn[1][32, 24])
    assert not draw_sampling_points(frame, one_sample(0.25, 0.5, level=0), 8).any()


def test_heavier_samples_are_larger() -> None:
    frame = np.zeros((480, 720, 3), np.uint8)
    points = one_sample(0.5, 0.5, level=0)
    areas = []
    for share in (0.1, 0.5, 0.9):
        weights = torch.tensor([share, 1 - share]).view(2, 1).expand_as(points.weights)
        drawn = draw_sampling_points(frame, points._replace(weights=weights), 7)
        areas.append(drawn.any(axis=2).sum())
    assert areas == sorted(set(areas))


def test_a_cross_marks_the_query() -> None:
    frame = np.zeros((64, 96, 3), np.uint8)
    center = token_center(7, (64, 96), SHAPES)
    drawn = draw_sampling_points(frame, one_sample(-9, -9, level=0), 7, center=center)
    assert drawn[int(center[1]), int(center[0])].tolist() == [255, 255, 255]


@pytest.mark.parametrize("where", [{"token": TOKENS}, {"token": 0, "row": 1}])
def test_queries_must_be_there(where) -> None:
    with pytest.raises(ValueError, match="token must be 0 to 29 and row 0 to 0"):
        draw_sampling_points(np.zeros((64, 96, 3), np.uint8), one_sample(0, 0, level=0), **where)
