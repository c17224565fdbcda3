from __future__ import annotations

from itertools import accumulate, pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from segblocks.losses import group_logits, object_mask_losses, with_background
from segblocks.matching import seeded_generator
from tests.losses.oracle import bce, dense_logits, dice, sample

F64 = torch.float64
GROUPS = [slice(0, 2), slice(2, 4), slice(4, 7)]


def scene(seed: int = 0) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    embeddings = torch.randn(7, 4, generator=generator, dtype=F64).requires_grad_()
    features = torch.randn(2, 4, 3, 5, generator=generator, dtype=F64).requires_grad_()
    masks = torch.randn(2, 2, 8, 12, generator=generator) > 0.5
    points = torch.rand(3, 2, 6, 2, generator=generator, dtype=F64)
    return embeddings, features, with_background(masks), points


def slow_logits(
    embeddings: Tensor, features: Tensor, points: Tensor, groups: list[slice], official: bool
) -> Tensor:
    dense = dense_logits(embeddings, features)
    rows = []
    for group, at in zip(groups, points, strict=True):
        if official:
            rows.append(sample(dense[group].amax(0)[None], at)[0])
        else:
            rows.append(sample(dense[group], at).amax(0))
    return torch.stack(rows)


@pytest.mark.parametrize("official", [False, True])
def test_values_and_gradients_equal_the_loop(official: bool) -> None:
    embeddings, features, masks, points = scene()
    losses = object_mask_losses(
        embeddings, features, masks, GROUPS, points=points, official_compat=official, normalizer=6
    )
    logits = slow_logits(embeddings, features, points, GROUPS, official)
    targets = sample(masks, points)
    entropy = torch.stack(
        [sum(bce(x, y) for x, y in zip(*pair, strict=True)) / 6 / 6 for pair in
         zip(logits.flatten(0, 1), targets.flatten(0, 1), strict=True)]
    ).view(3, 2).sum(1)  # fmt: skip
    of_dice = torch.stack(
        [dice(x, y) / 6 for x, y in zip(logits.flatten(0, 1), targets.flatten(0, 1), strict=True)]
    )
    of_dice = of_dice.view(3, 2).sum(1)
    torch.testing.assert_close(tuple(losses), (entropy, of_dice))
    torch.testing.assert_close(
        torch.autograd.grad(losses.cross_entropy.sum() + losses.dice.sum(), (embeddings, features)),
        torch.autograd.grad(entropy.sum() + of_dice.sum(), (embeddings, features)),
    )


def test_the_official_order_is_never_less_and_equal_for_one_query() -> None:
    embeddings, features, _, points = scene(1)
    ours = group_logits(embeddings, features, GROUPS, points)
    official = group_logits(embeddings, features, GROUPS, points, official_compat=True)
    assert (official >= ours - 1e-12).all()
    assert (official > ours + 1e-3).any()
    single = [slice(q, q + 1) for q in range(3)]
    torch.testing.assert_close(
        group_logits(embeddings, features, single, points),
        group_logits(embeddings, features, single, points, official_compat=True),
    )


@pytest.mark.parametrize("shape", [(6, 2), (2, 6, 2), (3, 2, 6, 2)])
def test_groups_in_any_order_and_points_in_any_sharing(shape: tuple[int, ...]) -> None:
    embeddings, features, _, _ = scene()
    groups = [slice(4, 7), slice(0, 1), slice(1, 3)]
    points = torch.rand(shape, dtype=F64)
    ours = group_logits(embeddings, features, groups, points)
    expected = slow_logits(embeddings, features, points.expand(3, 2, 6, 2), groups, False)
    torch.testing.assert_close(ours, expected)


@pytest.mark.parametrize("sizes", [(2, 2, 2), (2, 4, 1), (2, 3, 2), (3, 2, 2)])
def test_groups_of_any_sizes_have_the_gradient_of_their_greatest(sizes: tuple[int, ...]) -> None:
    embeddings, features, _, points = scene()
    ends = list(accumulate(sizes, initial=0))
    groups = [slice(*pair) for pair in pairwise(ends)]
    ours = group_logits(embeddings, features, groups, points)
    expected = slow_logits(embeddings, features, points, groups, False)
    torch.testing.assert_close(ours, expected)
    weight = torch.randn_like(expected)
    torch.testing.assert_close(
        torch.autograd.grad(ours, (embeddings, features), weight),
        torch.autograd.grad(expected, (embeddings, features), weight),
    )


def test_layers_can_be_stacked() -> None:
    embeddings, features, masks, points = scene()
    other = torch.randn_like(embeddings)
    stacked = object_mask_losses(
        torch.cat((embeddings, other)),
        features,
        masks,
        [*GROUPS, *(slice(g.start + 7, g.stop + 7) for g in GROUPS)],
        index=torch.tensor([0, 1, 2, 0, 1, 2]),
        points=torch.cat((points, points)),
    )
    for i, of_layer in enumerate((embeddings, other)):
        alone = object_mask_losses(of_layer, features, masks, GROUPS, points=points)
        torch.testing.assert_close(stacked.dice[3 * i : 3 * i + 3], alone.dice)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 3), st.integers(1, 2), st.booleans())
def test_any_number_of_objects(objects: int, frames: int, official: bool) -> None:
    masks = with_background(torch.rand(objects, frames, 8, 8) > 0.5)
    groups = [slice(2 * o, 2 * o + 2) for o in range(objects + 1)]
    embeddings = torch.randn(len(groups) * 2, 4, requires_grad=True)
    features = torch.randn(frames, 4, 4, 4)
    losses = object_mask_losses(
        embeddings, features, masks, groups, num_points=5, official_compat=official
    )
    assert losses.dice.shape == (objects + 1,)
    (losses.cross_entropy.sum() + losses.dice.sum()).backward()
    assert embeddings.grad is not None
    assert embeddings.grad.isfinite().all()


@pytest.mark.parametrize("official", [False, True])
def test_no_targets_give_no_losses(official: bool) -> None:
    embeddings, features, masks, _ = scene()
    losses = object_mask_losses(embeddings, features, masks[:0], [], official_compat=official)
    assert losses.dice.shape == losses.cross_entropy.shape == (0,)
    (losses.dice.sum() + losses.cross_entropy.sum()).backward()


def test_points_are_drawn_from_the_generator() -> None:
    embeddings, features, masks, _ = scene()
    runs = [
        object_mask_losses(
            embeddings, features, masks, GROUPS, num_points=9, generator=seeded_generator(key)
        ).dice
        for key in (0, 0, 1)
    ]
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0], runs[2])


def test_the_background_is_what_no_object_has() -> None:
    masks = torch.rand(3, 2, 4, 4) > 0.6
    whole = with_background(masks)
    assert torch.equal(whole[:3], masks)
    assert torch.equal(whole[3], ~(masks[0] | masks[1] | masks[2]))
    assert with_background(masks[:0]).all()


def test_wrong_arguments_are_named() -> None:
    embeddings, features, masks, _ = scene()
    with pytest.raises(ValueError, match="groups must be as many as the 3 targets, got 2"):
        object_mask_losses(embeddings, features, masks, GROUPS[:2])
    with pytest.raises(ValueError, match="groups must not be empty"):
        object_mask_losses(embeddings, features, masks, [slice(0, 0), *GROUPS[:2]])
    with pytest.raises(ValueError, match="masks must be boolean"):
        with_background(masks.float())
