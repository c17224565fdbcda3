from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from segblocks.matching import point_logits, sample_maps, tiles
from tests.losses.oracle import dense_logits, sample

F64 = torch.float64


def random(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=F64).requires_grad_()


@pytest.mark.parametrize("per_frame", [False, True])
@pytest.mark.parametrize("shape", [(7, 2), (2, 7, 2), (2, 27, 2), (5, 2, 7, 2)])
def test_values_and_gradients_equal_the_dense_path(per_frame: bool, shape: tuple[int, ...]) -> None:
    embeddings = random(5, 2, 4) if per_frame else random(5, 4)
    features = random(2, 4, 3, 6, seed=1)
    points = torch.rand(shape, dtype=F64) * 1.2 - 0.1
    sampled = point_logits(embeddings, features, points)
    expected = sample(dense_logits(embeddings, features), points)
    torch.testing.assert_close(sampled, expected)
    weight = torch.randn_like(expected)
    ours = torch.autograd.grad(sampled, (embeddings, features), weight)
    theirs = torch.autograd.grad(expected, (embeddings, features), weight)
    torch.testing.assert_close(ours, theirs)


def test_masks_can_share_sets_of_points() -> None:
    embeddings, features = random(5, 4), random(2, 4, 3, 6, seed=1)
    points = torch.rand(2, 2, 7, 2, dtype=F64)
    index = torch.tensor([1, 0, 0, 1, 1])
    shared = point_logits(embeddings, features, points, index=index)
    own = point_logits(embeddings, features, points[index])
    assert torch.equal(shared, own)
    grads = [torch.autograd.grad(x.square().sum(), (embeddings, features)) for x in (shared, own)]
    torch.testing.assert_close(*grads)


@pytest.mark.parametrize("shape", [(9, 2), (19, 2), (5, 2, 9, 2)])
def test_small_tiles_change_nothing(shape: tuple[int, ...], monkeypatch) -> None:
    embeddings, features = random(5, 4), random(2, 4, 3, 6, seed=1)
    points = torch.rand(shape, dtype=F64)

    def run() -> tuple[Tensor, ...]:
        logits = point_logits(embeddings, features, points)
        return logits, *torch.autograd.grad(logits.sin().sum(), (embeddings, features))

    whole = run()
    monkeypatch.setattr(tiles, "_TILE", 40)
    torch.testing.assert_close(run(), whole)


def test_one_factor_may_need_no_gradient() -> None:
    embeddings, features = random(5, 4), random(2, 4, 3, 6, seed=1)
    points = torch.rand(5, 2, 9, 2, dtype=F64)
    both = torch.autograd.grad(
        point_logits(embeddings, features, points).sum(), (embeddings, features)
    )
    for i, (e, f) in enumerate([(embeddings, features.detach()), (embeddings.detach(), features)]):
        (alone,) = torch.autograd.grad(point_logits(e, f, points).sum(), (e, f)[i])
        torch.testing.assert_close(alone, both[i])


def test_sets_of_masks_share_their_points() -> None:
    embeddings, features = random(3, 2, 2, 4), random(2, 4, 3, 6, seed=1)
    points = torch.rand(3, 2, 7, 2, dtype=F64)
    sets = point_logits(embeddings, features, points)
    own = point_logits(embeddings.flatten(0, 1), features, points.repeat_interleave(2, dim=0))
    torch.testing.assert_close(sets.flatten(0, 1), own)
    grads = [torch.autograd.grad(x.square().sum(), (embeddings, features)) for x in (sets, own)]
    torch.testing.assert_close(*grads)


@pytest.mark.parametrize("room", [1, 40, 100, 1 << 19])
def test_tiles_cut_everything_once(room: int, monkeypatch) -> None:
    monkeypatch.setattr(tiles, "_TILE", room)
    seen = torch.zeros(5, 3, 2)
    for tile in tiles.tiles((5, 3, 2), 18, torch.device("cpu")):
        assert seen[tile].numel() * 18 <= max(room, 18)
        seen[tile] += 1
    assert (seen == 1).all()


def test_the_deterministic_spread_equals_the_other() -> None:
    grad, points = torch.randn(3, 2, 4, 50, dtype=F64), torch.rand(3, 4, 50, 2, dtype=F64)
    points = points * 1.2 - 0.1
    size = torch.Size((4, 7))
    rows = grad.permute(2, 0, 1, 3).flatten(0, 1)
    ours = tiles._spread_in_order(rows, points.transpose(0, 1).flatten(0, 1), size)
    torch.testing.assert_close(ours.view(4, 6, 28), tiles._spread(grad, points, size))


def test_autocast_and_half_precision() -> None:
    embeddings, features = torch.randn(3, 64), torch.randn(2, 64, 8, 12)
    points = torch.rand(3, 2, 20, 2)
    exact = point_logits(embeddings, features, points)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(point_logits(embeddings, features, points), exact)
    half = features.bfloat16().requires_grad_()
    logits = point_logits(embeddings.bfloat16(), half, points)
    assert logits.dtype == torch.float32
    torch.testing.assert_close(logits, exact, atol=0.2, rtol=0.05)
    logits.sum().backward()
    assert half.grad is not None
    assert half.grad.dtype == torch.bfloat16
    full = features.clone().requires_grad_()
    point_logits(embeddings, full, points).sum().backward()
    torch.testing.assert_close(half.grad.float(), full.grad, atol=0.1, rtol=0.05)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 3), st.integers(1, 3), st.integers(1, 4), st.integers(1, 4))
def test_any_sizes(masks: int, frames: int, h: int, num_points: int) -> None:
    embeddings, features = random(masks, 4), random(frames, 4, h, 3)
    points = torch.rand(masks, frames, num_points, 2, dtype=F64)
    logits = point_logits(embeddings, features, points)
    assert logits.shape == (masks, frames, num_points)
    dense = dense_logits(embeddings, features)
    torch.testing.assert_close(logits, sample_maps(dense, points))
    torch.testing.assert_close(
        torch.autograd.grad(logits.sum(), (embeddings, features)),
        torch.autograd.grad(sample_maps(dense, points).sum(), (embeddings, features)),
    )


@pytest.mark.parametrize(
    ("embeddings", "features", "points", "named"),
    [
        ((5, 3), (2, 4, 3, 6), (7, 2), "embeddings"),
        ((5, 3, 4), (2, 4, 3, 6), (7, 2), "embeddings"),
        ((5, 4), (4, 3, 6), (7, 2), "features"),
        ((5, 4), (2, 4, 3, 6), (3, 7, 2), "points"),
        ((5, 4), (2, 4, 3, 6), (4, 2, 7, 2), "points"),
        ((5, 3, 2, 4), (2, 4, 3, 6), (4, 2, 7, 2), "points"),
        ((5, 3, 1, 4), (2, 4, 3, 6), (5, 2, 7, 2), "embeddings"),
    ],
)
def test_wrong_shapes_are_named(embeddings, features, points, named: str) -> None:
    with pytest.raises(ValueError, match=f"point_logits: {named}"):
        point_logits(torch.zeros(embeddings), torch.zeros(features), torch.rand(points))
