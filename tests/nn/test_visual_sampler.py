"""Tokens of visual prompts against what the pixels say."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from segblocks.nn import SeededPermutation, VisualSampler, sine_position_3d
from segblocks.nn.visual_sampler import box_cells, frame_time, mask_point, point_position

H, W, C = 6, 8, 8


def numbered() -> Tensor:
    """Features (h, w, C) whose every value is the pixel's number, from 1."""
    return torch.arange(1.0, H * W + 1).reshape(H, W, 1).expand(-1, -1, C).clone()


def drawn(tokens: Tensor) -> list[int]:
    return [int(value) - 1 for value in tokens[:, 0]]


def rectangle(y0: int, y1: int, x0: int, x1: int) -> Tensor:
    mask = torch.zeros(8 * H, 8 * W, dtype=torch.bool)
    mask[y0:y1, x0:x1] = True
    return mask


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 40))
def test_tokens_are_distinct_pixels_of_the_object(seed: int, num_tokens: int) -> None:
    mask = rectangle(3, 40, 9, 50)
    sampler = VisualSampler(num_tokens, permutation=SeededPermutation(seed))
    tokens = sampler.masks(numbered(), -numbered(), mask[None])
    inside = set((mask[::8, ::8]).flatten().nonzero()[:, 0].tolist())
    found = drawn(tokens.features[0])
    assert set(found) <= inside
    assert len(set(found)) == min(num_tokens, len(inside))
    assert (tokens.positions == -tokens.features).all()
    again = VisualSampler(num_tokens, permutation=SeededPermutation(seed))
    assert (again.masks(numbered(), -numbered(), mask[None]).features == tokens.features).all()


def test_tokens_do_not_depend_on_the_other_objects() -> None:
    sampler = VisualSampler(5)
    masks = torch.stack([rectangle(0, 30, 0, 30), rectangle(16, 48, 30, 64)])
    together = sampler.masks(numbered(), numbered(), masks).features
    for n in range(2):
        alone = sampler.masks(numbered(), numbered(), masks[n : n + 1]).features
        assert (alone[0] == together[n]).all()


def test_injected_permutations_choose() -> None:
    sampler = VisualSampler(3, permutation=lambda n: torch.arange(n).flip(0))
    mask = rectangle(0, 8, 0, 64)
    assert drawn(sampler.masks(numbered(), numbered(), mask[None]).features[0]) == [7, 6, 5]


def test_few_pixels_are_repeated_in_turn() -> None:
    sampler = VisualSampler(5)
    tokens = sampler.masks(numbered(), numbered(), rectangle(0, 8, 0, 16)[None])
    assert drawn(tokens.features[0]) == [0, 1, 0, 1, 0]


def test_an_empty_mask_gives_zeros() -> None:
    masks = torch.stack([rectangle(0, 8, 0, 16), rectangle(0, 0, 0, 0)])
    tokens = VisualSampler(4).masks(numbered(), numbered(), masks)
    assert (tokens.features[1] == 0).all()
    assert (tokens.positions[1] == 0).all()
    assert VisualSampler(4).masks(numbered(), numbered(), masks[:0]).features.shape == (0, 4, C)


def test_small_objects_get_the_cells_that_they_touch() -> None:
    small = rectangle(17, 19, 9, 11)  # between the pixels at multiples of 8
    tokens = VisualSampler(4).masks(numbered(), numbered(), small[None])
    assert drawn(tokens.features[0]) == [2 * W + 1] * 4


def test_small_objects_as_the_official_code_has_them() -> None:
    small, large = rectangle(17, 19, 9, 11), rectangle(0, 30, 0, 30)
    sampler = VisualSampler(H * W, official_compat=True)
    alone = sampler.masks(numbered(), numbered(), small[None])
    assert set(drawn(alone.features[0])) == set(range(H * W))
    beside = sampler.masks(numbered(), numbered(), torch.stack([small, large]))
    assert (beside.features[0] == 0).all()
    place = mask_point(small, sampler.permutation)
    assert (beside.positions[0, 0] == point_position(place, 0.0, C)).all()


def test_points_take_the_feature_under_them() -> None:
    points = torch.tensor([[2.5 / W, 3.5 / H], [-0.1, 0.5], [0.5, 1.1], [3.0 / W, 3.5 / H]])
    tokens = VisualSampler(4).points(numbered(), points)
    want = [3 * W + 3.0, 0.0, 0.0, 3 * W + 3.5]
    for values, value in zip(tokens.features, want, strict=True):
        torch.testing.assert_close(values, torch.full((4, C), value), rtol=1e-5, atol=1e-5)
    assert (tokens.positions[1:3] == 0).all()
    assert (tokens.positions[0] != 0).any()


def test_boxes_cover_the_pixels_that_they_touch() -> None:
    box = torch.tensor([2.0 / W, 1.5 / H, 4.0 / W, 3.0 / H])
    assert box_cells(box, (H, W)).nonzero().tolist() == [[1, 2], [1, 3], [2, 2], [2, 3]]
    official = box_cells(box, (H, W), official_compat=True)
    assert official.nonzero().tolist() == [[2, 3], [2, 4], [3, 3], [3, 4]]


def test_boxes_without_a_pixel() -> None:
    boxes = torch.tensor([[0.0, 0.0, 1.0, 1.0], [0.99, 0.99, 0.991, 0.991], [0.5, 0.5, 0.5, 0.9]])
    sampler = VisualSampler(4, official_compat=True)
    tokens = sampler.boxes(numbered(), numbered(), boxes)
    centre = torch.tensor([[0.9905, 0.9905]])
    assert len(set(drawn(tokens.features[0]))) == 4
    assert (tokens.features[1] == sampler.points(numbered(), centre).features[0]).all()
    assert (tokens.features[2] == 0).all()


@pytest.mark.parametrize("indices", [None, [200, 7]])
def test_points_are_placed_as_pixels_are(indices: list[int] | None) -> None:
    grid = sine_position_3d(2, H, W, C, frame_indices=indices)
    # Pixel n of the grid lies at (n + 1) / (N + 1e-6) of a turn.
    points = torch.tensor([[(5 + 1) / W, (2 + 1) / H]])
    for t in range(2):
        place = point_position(points, frame_time(t, 2, indices), C)
        torch.testing.assert_close(place[0], grid[t, 2, 5], rtol=1e-4, atol=1e-5)


def test_the_point_of_a_mask_lies_in_its_middle() -> None:
    place = mask_point(rectangle(8, 40, 16, 48), SeededPermutation())
    assert (place[0] * 8 * W - 32).abs() < 8
    assert (place[1] * 8 * H - 24).abs() < 8
    ring = rectangle(8, 40, 16, 48) & ~rectangle(12, 36, 20, 44)
    x, y = (mask_point(ring, SeededPermutation()) * torch.tensor([8 * W, 8 * H])).int().tolist()
    assert ring[y, x]


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="num_tokens must be at least 1, got 0"):
        VisualSampler(0)
    with pytest.raises(ValueError, match=r"masks must be boolean \(O, 48, 64\), got \(1, 6, 8\)"):
        VisualSampler(2).masks(numbered(), numbered(), torch.ones(1, H, W, dtype=torch.bool))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("official_compat", [False, True])
def test_a_gpu_draws_the_same(official_compat: bool) -> None:
    sampler = VisualSampler(5, official_compat=official_compat)
    empty = rectangle(0, 0, 0, 0)
    masks = torch.stack([rectangle(0, 30, 0, 30), rectangle(17, 19, 9, 11), empty])
    boxes = torch.tensor([[0.0, 0.0, 1.0, 1.0], [0.99, 0.99, 0.991, 0.991]])
    there = numbered().cuda()
    for place in (Tensor.cpu, Tensor.cuda):
        on_gpu = (
            sampler.masks(there, there, place(masks)),
            sampler.boxes(there, there, place(boxes)),
        )
        here = numbered()
        on_cpu = sampler.masks(here, here, masks), sampler.boxes(here, here, boxes)
        for found, expected in zip(on_gpu, on_cpu, strict=True):
            for a, b in zip(found, expected, strict=True):
                torch.testing.assert_close(a.cpu(), b)
