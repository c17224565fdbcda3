from __future__ import annotations

import math

import pytest
import torch

from segblocks.losses import cosine_auxiliary, info_nce, pair_contrast

F64 = torch.float64


def scene() -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    anchors = torch.randn(5, 8, generator=generator, dtype=F64).requires_grad_()
    keys = torch.randn(7, 8, generator=generator, dtype=F64).requires_grad_()
    positives = torch.rand(5, 7, generator=generator) < 0.3
    positives[0] = False
    positives[1] = True
    negatives = (torch.rand(5, 7, generator=generator) < 0.6) & ~positives
    return anchors, keys, positives, negatives


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("given", [False, True])
def test_info_nce_equals_the_loop(normalize: bool, given: bool) -> None:
    anchors, keys, positives, negatives = scene()
    chosen = negatives if given else ~positives
    ours = info_nce(
        anchors,
        keys,
        positives,
        negatives=negatives if given else None,
        temperature=0.5,
        normalize=normalize,
    )
    rows = []
    for a in range(5):

        def similarity(k: int, a: int = a) -> float:
            dot = float(anchors[a] @ keys[k])
            scale = float(anchors[a].norm() * keys[k].norm()) if normalize else 1.0
            return dot / scale / 0.5

        against = sum(math.exp(similarity(k)) for k in range(7) if chosen[a, k])
        each = [
            -math.log(math.exp(similarity(k)) / (math.exp(similarity(k)) + against))
            for k in range(7)
            if positives[a, k]
        ]
        if each:
            rows.append(sum(each) / len(each))
    assert float(ours) == pytest.approx(sum(rows) / len(rows))
    grads = torch.autograd.grad(ours, (anchors, keys))
    assert all(grad.isfinite().all() for grad in grads)


@pytest.mark.parametrize("mean_pairs", [False, True])
@pytest.mark.parametrize("max_exponent", [None, 0.7])
def test_pair_contrast_equals_the_loop(mean_pairs: bool, max_exponent: float | None) -> None:
    anchors, keys, positives, negatives = scene()
    similarity = anchors @ keys.T
    ours = pair_contrast(
        similarity,
        positives,
        negatives=negatives,
        mean_pairs=mean_pairs,
        max_exponent=max_exponent,
    )
    rows = []
    for a in range(5):
        exponents = [
            float(similarity[a, n] - similarity[a, p])
            for p in range(7)
            for n in range(7)
            if positives[a, p] and negatives[a, n]
        ]
        if exponents:
            limit = math.inf if max_exponent is None else max_exponent
            total = sum(math.exp(min(x, limit)) for x in exponents)
            rows.append(math.log(1 + total / (len(exponents) if mean_pairs else 1)))
    assert float(ours) == pytest.approx(sum(rows) / len(rows))
    grads = torch.autograd.grad(ours, (anchors, keys))
    assert all(grad.isfinite().all() for grad in grads)


def test_large_similarities_do_not_overflow() -> None:
    similarity = torch.tensor([[-500.0, 500.0]], requires_grad=True)
    loss = pair_contrast(similarity, torch.tensor([[True, False]]))
    assert float(loss) == 1000.0
    loss.backward()
    assert similarity.grad is not None
    assert similarity.grad.tolist() == [[-1.0, 1.0]]


def test_cosine_auxiliary_equals_the_loop() -> None:
    anchors, keys, positives, negatives = scene()
    ours = cosine_auxiliary(anchors, keys, positives, negatives=negatives)
    squares = [
        (float(torch.cosine_similarity(anchors[a], keys[k], dim=0)) - float(positives[a, k])) ** 2
        for a in range(5)
        for k in range(7)
        if positives[a, k] or negatives[a, k]
    ]
    assert float(ours) == pytest.approx(sum(squares) / len(squares))


@pytest.mark.parametrize("anchors", [0, 3])
@pytest.mark.parametrize("keys", [0, 4])
def test_nothing_to_compare_gives_zero(anchors: int, keys: int) -> None:
    x = torch.randn(anchors, 8, requires_grad=True)
    y = torch.randn(keys, 8, requires_grad=True)
    none = torch.zeros(anchors, keys, dtype=torch.bool)
    total = info_nce(x, y, none, negatives=none)
    total = total + pair_contrast(x @ y.T, none) + pair_contrast(x @ y.T, none, max_exponent=10.0)
    total = total + cosine_auxiliary(x, y, none, negatives=none)
    total.backward()
    assert float(total.detach()) == 0
    assert x.grad is not None
    assert not x.grad.any()


def test_masks_that_do_not_fit_are_named() -> None:
    x = torch.randn(3, 8)
    with pytest.raises(ValueError, match=r"info_nce: positives must be bool \(3, 3\)"):
        info_nce(x, x, torch.ones(3, 3))
    good = torch.ones(3, 3, dtype=torch.bool)
    with pytest.raises(ValueError, match="pair_contrast: negatives"):
        pair_contrast(x @ x.T, good, negatives=good[:2])
