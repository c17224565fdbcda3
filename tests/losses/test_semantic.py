from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from segblocks.losses import SemanticPointLoss
from segblocks.losses.semantic import _second_less_best
from segblocks.matching import seeded_generator, tiles
from tests.losses.oracle import bilinear, dense_logits, sample

F64 = torch.float64


def scene(num_labels: int, seed: int = 0) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    embeddings = torch.randn(4, 3, generator=generator, dtype=F64).requires_grad_()
    background = torch.randn(2, 3, generator=generator, dtype=F64).requires_grad_()
    features = torch.randn(2, 3, 4, 5, generator=generator, dtype=F64).requires_grad_()
    labels = torch.randint(0, num_labels, (2, 8, 10), generator=generator)
    labels[0, :3] = -1
    points = torch.rand(2, 12, 2, generator=generator, dtype=F64)
    return embeddings, background, features, labels, points


def slow_logits(embeddings, background, features, points, official: bool) -> Tensor:
    """(T, P, K)."""
    logits = sample(dense_logits(embeddings, features), points)
    if background is not None:
        dense = dense_logits(background, features)
        best = (
            sample(dense.amax(0)[None], points) if official else sample(dense, points).amax(0)[None]
        )
        logits = torch.cat((logits, best))
    return logits.permute(1, 2, 0)


def slow_sums(logits: Tensor, labels: Tensor, points: Tensor, left_out=()) -> tuple:
    entropy, count, norm = 0.0, 0, 0.0
    for t in range(len(logits)):
        for p, (x, y) in enumerate(points[t].tolist()):
            row = logits[t, p].clone()
            norm = norm + row.square().sum().sqrt()
            for k in left_out:
                row[k] = -1000.0
            label = int(labels[t, int(y * 8), int(x * 10)])
            if label >= 0:
                entropy = entropy + torch.log(torch.exp(row).sum()) - row[label]
                count += 1
    return entropy, count, norm


@pytest.mark.parametrize("official", [False, True])
@pytest.mark.parametrize("has_background", [False, True])
def test_values_and_gradients_equal_the_loop(official: bool, has_background: bool) -> None:
    embeddings, background, features, labels, points = scene(5 if has_background else 4)
    extra = background if has_background else None
    loss = SemanticPointLoss(official_compat=official)
    losses = loss(embeddings, features, labels, background=extra, points=points)
    logits = slow_logits(embeddings, extra, features, points, official)
    entropy, count, norm = slow_sums(logits, labels, points)
    torch.testing.assert_close(losses.cross_entropy.total, entropy)
    torch.testing.assert_close(losses.regularization.total, norm)
    assert losses.cross_entropy.weight == count
    assert losses.regularization.weight == 24
    inputs = (embeddings, features, *(() if extra is None else (extra,)))
    torch.testing.assert_close(
        torch.autograd.grad(losses.cross_entropy.mean + losses.regularization.mean, inputs),
        torch.autograd.grad(entropy / count + norm / 24, inputs),
    )


def test_classes_that_nobody_names_are_left_out() -> None:
    embeddings, _, features, labels, points = scene(2)
    # A mean is never the greatest.
    embeddings = torch.cat((embeddings, embeddings.mean(0, keepdim=True))).detach()
    logits = slow_logits(embeddings, None, features, points, False)
    named = set(logits.argmax(-1).flatten().tolist()) | {0, 1}
    left_out = sorted(set(range(5)) - named)
    assert left_out, "the scene should leave out a class"
    loss = SemanticPointLoss(ignore_null_classes=True)
    ours = loss(embeddings, features, labels, points=points)
    entropy, _, norm = slow_sums(logits, labels, points, left_out)
    torch.testing.assert_close(ours.cross_entropy.total, entropy)
    torch.testing.assert_close(ours.regularization.total, norm)
    kept = SemanticPointLoss()(embeddings, features, labels, points=points)
    assert kept.cross_entropy.total > ours.cross_entropy.total


def test_bilinear_labels_are_the_official_made_up_ones() -> None:
    embeddings, background, features, labels, points = scene(5)
    labels = labels.clamp(min=0)
    loss = SemanticPointLoss(label_sampling="bilinear")
    ours = loss(embeddings, features, labels, background=background, points=points)
    # In the official numbers the background is 0 and the classes follow.
    numbers = torch.where(labels == 4, 0, labels + 1).double()
    logits = slow_logits(embeddings, background, features, points, False)
    logits = torch.cat((logits[..., 4:], logits[..., :4]), dim=-1)
    entropy = 0.0
    for t in range(2):
        for p, (x, y) in enumerate(points[t].tolist()):
            number = math.floor(float(bilinear(numbers[t], x, y)))
            entropy = entropy - logits[t, p].log_softmax(0)[number]
    torch.testing.assert_close(ours.cross_entropy.total, entropy)
    nearest = SemanticPointLoss()(
        embeddings, features, labels, background=background, points=points
    )
    assert not torch.allclose(nearest.cross_entropy.total, ours.cross_entropy.total)


def test_points_go_where_two_classes_are_close_and_not_where_ignored() -> None:
    x = torch.linspace(-1, 1, 32)
    features = torch.stack((x, -x))[None, :, None].expand(1, 2, 16, 32)
    labels = torch.zeros(1, 16, 32, dtype=torch.int64)
    labels[:, :8] = -1
    seen = []
    loss = SemanticPointLoss(100, oversample=8.0, importance=1.0)
    drawn = loss._draw

    def remember(*args):
        seen.append(drawn(*args))
        return seen[-1]

    object.__setattr__(loss, "_draw", remember)
    losses = loss(torch.eye(2), features, labels, generator=seeded_generator(0))
    (points,) = seen
    assert losses.cross_entropy.weight == 100
    assert (points[..., 1] >= 0.5).all()
    assert (points[..., 0] - 0.5).abs().max() < 0.25


@pytest.mark.parametrize("room", [1, 200, 1 << 19])
@pytest.mark.parametrize("null", [False, True])
def test_predictions_at_once_are_those_one_by_one(null: bool, room: int, monkeypatch) -> None:
    embeddings, background, features, labels, _ = scene(5)
    # Not multiples, by which several classes would be the best.
    layers = torch.stack((embeddings, embeddings.flip(0), embeddings.roll(1, 1)))
    classes, extra = (
        each[:, :, None].expand(-1, -1, 2, -1)
        for each in (layers, torch.stack((background, background.flip(1), -background)))
    )
    loss = SemanticPointLoss(20, ignore_null_classes=null)
    monkeypatch.setattr(tiles, "_TILE", room)
    found = loss(classes, features, labels, background=extra, generator=seeded_generator(0))
    generator = seeded_generator(0)
    monkeypatch.setattr(tiles, "_TILE", 1 << 19)
    alone = [
        loss(of_layer, features, labels, background=of_background, generator=generator)
        for of_layer, of_background in zip(classes, extra, strict=True)
    ]
    for ours, *theirs in zip(found, *alone, strict=True):
        torch.testing.assert_close(ours.total, torch.stack([each.total for each in theirs]))
        assert torch.equal(ours.weight, torch.stack([each.weight for each in theirs]))
    inputs = (embeddings, background, features)
    torch.testing.assert_close(
        torch.autograd.grad(found.cross_entropy.total.sum(), inputs),
        torch.autograd.grad(
            torch.stack([each.cross_entropy.total for each in alone]).sum(), inputs
        ),
    )


def test_the_second_best_class_may_be_as_good() -> None:
    logits = torch.tensor([[3.0, 1.0, 2.0], [3.0, 3.0, 1.0], [2.0, 2.0, 2.0]])[..., None, None]
    assert _second_less_best(logits).flatten().tolist() == [-1.0, 0.0, 0.0]
    assert _second_less_best(torch.zeros(1, 1, 1, 2)).flatten().tolist() == [0.0, 0.0]


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 3), st.integers(1, 2), st.booleans(), st.booleans(), st.booleans())
def test_any_sizes_stay_finite(
    classes: int, frames: int, has_background: bool, ignored: bool, null: bool
) -> None:
    embeddings = torch.randn(classes, 4, requires_grad=True)
    features = torch.randn(frames, 4, 3, 3, requires_grad=True)
    labels = torch.full((frames, 6, 6), -1 if ignored else classes - 1)
    background = torch.randn(2, 4) if has_background else None
    loss = SemanticPointLoss(5, ignore_null_classes=null)
    losses = loss(embeddings, features, labels, background=background)
    total = losses.cross_entropy.mean + losses.regularization.mean
    total.backward()
    assert total.isfinite()
    assert embeddings.grad is not None
    assert embeddings.grad.isfinite().all()
    if ignored:
        assert losses.cross_entropy.mean == 0


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="label_sampling"):
        SemanticPointLoss(label_sampling="cubic")  # type: ignore[arg-type]
    loss = SemanticPointLoss(5)
    embeddings, features = torch.zeros(2, 4), torch.zeros(1, 4, 3, 3)
    with pytest.raises(ValueError, match="labels must be integers"):
        loss(embeddings, features, torch.zeros(1, 6, 6))
    with pytest.raises(ValueError, match="labels must be integers"):
        loss(embeddings, features, torch.zeros(2, 6, 6, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"embeddings must be \(L, K, 1, 4\), got \(3, 2, 2, 4\)"):
        loss(torch.zeros(3, 2, 2, 4), features, torch.zeros(1, 6, 6, dtype=torch.int64))


def test_a_labelled_class_stays_in_though_nobody_predicts_it() -> None:
    embeddings, _, features, labels, points = scene(2)
    embeddings = torch.cat((embeddings, embeddings.mean(0, keepdim=True))).detach()
    labels = labels.where(labels != 1, 4)
    logits = slow_logits(embeddings, None, features, points, False)
    assert not (logits.argmax(-1) == 4).any()
    ours = SemanticPointLoss(ignore_null_classes=True)(embeddings, features, labels, points=points)
    named = set(logits.argmax(-1).flatten().tolist()) | {0, 4}
    entropy, _, _ = slow_sums(logits, labels, points, sorted(set(range(5)) - named))
    torch.testing.assert_close(ours.cross_entropy.total, entropy)
    assert ours.cross_entropy.mean < 100
