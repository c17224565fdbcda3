from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from segblocks.losses import (
    PointMaskLoss,
    losses_from_sums,
    point_mask_losses,
    point_sums,
    sums_of_logits,
    uncertain_points,
)
from segblocks.matching import seeded_generator, tiles
from tests.losses.oracle import bce, dense_logits, dice, sample

F64 = torch.float64


def scene(masks: int, objects: int, frames: int, seed: int = 0) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)

    def random(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=F64)

    embeddings = random(masks, 4).requires_grad_()
    features = random(frames, 4, 3, 5).requires_grad_()
    points = torch.rand(masks, frames, 6, 2, generator=generator, dtype=F64)
    targets = random(objects, frames, 8, 12) > 0.5
    index = torch.randint(0, max(objects, 1), (masks,), generator=generator)
    return embeddings, features, targets, index, points


def slow_losses(
    embeddings: Tensor, features: Tensor, masks: Tensor, index: Tensor, points: Tensor, over: str
) -> tuple[Tensor, Tensor]:
    logits = sample(dense_logits(embeddings, features), points)
    targets = sample(masks[index], points)
    if over == "clip":
        logits, targets = logits.flatten(1)[:, None], targets.flatten(1)[:, None]
    entropies, dices = [], []
    for n in range(len(logits)):
        frames = list(zip(logits[n], targets[n], strict=True))
        pairs = [list(zip(x, y, strict=True)) for x, y in frames]
        entropies.append(sum(sum(bce(*pair) for pair in some) / len(some) for some in pairs))
        dices.append(sum(dice(x, y) for x, y in frames))
    return torch.stack(entropies), torch.stack(dices)


@pytest.mark.parametrize("over", ["frame", "clip"])
def test_values_and_gradients_equal_the_dense_loop(over) -> None:
    embeddings, features, masks, index, points = scene(3, 2, 2)
    losses = point_mask_losses(
        embeddings, features, masks, index, points=points, over=over, normalizer=3.0
    )
    expected = slow_losses(embeddings, features, masks, index, points, over)
    torch.testing.assert_close(tuple(losses), tuple(x / 3 for x in expected))
    weights = torch.rand(2, 3, dtype=F64)
    ours = sum((w * x).sum() for w, x in zip(weights, losses, strict=True))
    theirs = sum((w * x).sum() / 3 for w, x in zip(weights, expected, strict=True))
    torch.testing.assert_close(
        torch.autograd.grad(ours, (embeddings, features)),
        torch.autograd.grad(theirs, (embeddings, features)),
    )


def test_the_sums_equal_those_of_logits_for_every_gradient() -> None:
    embeddings, features, masks, index, points = scene(3, 2, 2, seed=1)
    per_frame = embeddings[:, None].expand(-1, 2, -1)
    sums = point_sums(per_frame, features, points, masks, index)
    targets = sample(masks[index], points)
    dense = sums_of_logits(sample(dense_logits(embeddings, features), points), targets)
    torch.testing.assert_close(tuple(sums), tuple(dense))
    assert not sums.target.requires_grad
    weights = torch.randn(3, 3, 2, dtype=F64)
    for ours, theirs, weight in zip(sums[:3], dense[:3], weights, strict=True):
        torch.testing.assert_close(
            torch.autograd.grad(ours, (embeddings, features), weight, retain_graph=True),
            torch.autograd.grad(theirs, (embeddings, features), weight, retain_graph=True),
        )


def test_small_tiles_and_autocast_change_nothing(monkeypatch) -> None:
    embeddings, features, masks, index, points = scene(5, 2, 2)
    embeddings, features = (x.detach().float().requires_grad_() for x in (embeddings, features))

    def run() -> tuple[Tensor, ...]:
        losses = point_mask_losses(embeddings, features, masks, index, points=points.float())
        total = losses.cross_entropy.sum() + losses.dice.sum()
        return *losses, *torch.autograd.grad(total, (embeddings, features))

    whole = run()
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(run(), whole)
    monkeypatch.setattr(tiles, "_TILE", 16)
    torch.testing.assert_close(run(), whole)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2), st.integers(0, 1), st.integers(1, 3), st.sampled_from(["frame", "clip"]))
def test_any_number_of_masks(masks: int, objects: int, frames: int, over) -> None:
    masks = masks * objects
    embeddings, features, targets, index, _ = scene(masks, objects, frames)
    losses = point_mask_losses(embeddings, features, targets, index, num_points=3, over=over)
    assert losses.cross_entropy.shape == losses.dice.shape == (masks,)
    total = losses.cross_entropy.sum() + losses.dice.sum()
    grads = torch.autograd.grad(total, (embeddings, features))
    assert all(grad.isfinite().all() for grad in grads)
    if not masks:
        assert not grads[1].any()


def test_an_absent_object_is_an_empty_target() -> None:
    embeddings, features, _, index, points = scene(1, 1, 2)
    masks = torch.zeros(1, 2, 8, 12, dtype=torch.bool)
    losses = point_mask_losses(embeddings, features, masks, index, points=points)
    expected = slow_losses(embeddings, features, masks, index, points, "frame")
    torch.testing.assert_close(tuple(losses), expected)


def test_uncertain_points_lie_where_the_logit_is_small() -> None:
    # The logit is 0 on the vertical line in the middle.
    features = torch.linspace(-1, 1, 32).expand(1, 1, 16, 32)
    embeddings = torch.tensor([[1.0], [-3.0]])
    points = uncertain_points(embeddings, features, 400, generator=seeded_generator(0))
    distance = (points[..., 0] - 0.5).abs()
    # At the border the zeros beyond it make all logits small.
    inside = (points[..., 1] - 0.5).abs() < 0.45
    assert distance[..., :300][inside[..., :300]].max() < 0.15
    assert distance[..., 300:].max() > 0.4
    assert not torch.equal(points[0], points[1])
    again = uncertain_points(embeddings, features, 400, generator=seeded_generator(0))
    assert torch.equal(points, again)


def test_the_module_holds_the_settings() -> None:
    embeddings, features, masks, index, _ = scene(3, 2, 2)
    loss = PointMaskLoss(num_points=7, oversample=2.0, importance=0.5, over="clip")
    ours = loss(embeddings, features, masks, index, normalizer=2.0, generator=seeded_generator("a"))
    theirs = point_mask_losses(
        embeddings,
        features,
        masks,
        index,
        num_points=7,
        oversample=2.0,
        importance=0.5,
        over="clip",
        normalizer=2.0,
        generator=seeded_generator("a"),
    )
    torch.testing.assert_close(ours, theirs)


def test_wrong_arguments_are_named() -> None:
    embeddings, features, masks, index, points = scene(3, 2, 2)
    with pytest.raises(ValueError, match="masks must be"):
        point_mask_losses(embeddings, features, masks[:, :1], index, points=points)
    with pytest.raises(ValueError, match="index must be"):
        point_mask_losses(embeddings, features, masks, index[:2], points=points)
    with pytest.raises(ValueError, match="points must be"):
        point_mask_losses(embeddings, features, masks, index, points=points[:2])
    sums = sums_of_logits(torch.zeros(1, 1, 2), torch.zeros(1, 1, 2))
    with pytest.raises(ValueError, match="over must be"):
        losses_from_sums(sums, 2, over="video")  # type: ignore[arg-type]
