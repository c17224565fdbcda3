"""Embeddings fitted to known masks, beside the minimum that a slow descent in float64 finds."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from segblocks.ops import fit_mask_embeddings


def objective(
    fitted: Tensor, start: Tensor, features: Tensor, targets: Tensor, pull: float
) -> Tensor:
    """What is minimised, as the docstring says it."""
    logits = torch.einsum("qc,rchw->qrhw", fitted, features).amax(dim=0)
    error = -(targets * F.logsigmoid(logits) + (1 - targets) * F.logsigmoid(-logits)).mean()
    unit = features.square().mean(dim=(0, 2, 3)).sqrt()
    return error + pull * ((fitted - start) * unit).square().sum()


def example(seed: int = 0, queries: int = 1, frames: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    """Embeddings, features, and targets that a linear classifier gets mostly right."""
    rng = torch.Generator().manual_seed(seed)
    start = torch.randn(queries, 4, generator=rng, dtype=torch.float64)
    features = torch.randn(frames, 4, 5, 6, generator=rng, dtype=torch.float64)
    truth = torch.randn(4, generator=rng, dtype=torch.float64)
    return start, features, (torch.einsum("c,rchw->rhw", 3 * truth, features)).sigmoid()


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 1000), frames=st.integers(1, 3), pull=st.sampled_from([1e-3, 1e-1]))
def test_one_embedding_reaches_the_minimum(seed: int, frames: int, pull: float) -> None:
    start, features, targets = example(seed, frames=frames)
    fitted = fit_mask_embeddings(start, features, targets, steps=100, pull=pull)
    slow = start.clone().requires_grad_()
    optimizer = torch.optim.Adam([slow], lr=0.05)
    for _ in range(800):
        optimizer.zero_grad()
        objective(slow, start, features, targets, pull).backward()
        optimizer.step()
    least = objective(slow.detach(), start, features, targets, pull)
    assert objective(fitted, start, features, targets, pull) <= least + 1e-5


@pytest.mark.parametrize("queries", [1, 4])
def test_more_steps_never_do_worse(queries: int) -> None:
    start, features, targets = example(1, queries=queries)
    loss = [objective(start, start, features, targets, 1e-3)] + [
        objective(
            fit_mask_embeddings(start, features, targets, steps=n), start, features, targets, 1e-3
        )
        for n in (1, 5, 20)
    ]
    assert loss == sorted(loss, reverse=True)
    assert loss[-1] < 0.7 * loss[0]


def test_a_strong_pull_keeps_the_embeddings() -> None:
    start, features, targets = example()
    fitted = fit_mask_embeddings(start, features, targets, pull=1e6)
    torch.testing.assert_close(fitted, start, rtol=0, atol=1e-5)


def test_the_unit_of_a_channel_does_not_matter() -> None:
    start, features, targets = example(3)
    unit = torch.tensor([1e-3, 1.0, 10.0, 1e3], dtype=torch.float64)
    fitted = fit_mask_embeddings(start, features, targets, steps=60)
    scaled = fit_mask_embeddings(start / unit, features * unit[:, None, None], targets, steps=60)
    torch.testing.assert_close(scaled * unit, fitted, rtol=1e-4, atol=1e-4)


def test_channels_that_are_constant_or_zero_do_no_harm() -> None:
    start, features, targets = example()
    features[:, 1], features[:, 2] = 0.0, 5.0
    fitted = fit_mask_embeddings(start, features, targets)
    assert fitted.isfinite().all()
    torch.testing.assert_close(fitted[:, 1], start[:, 1])
    assert objective(fitted, start, features, targets, 0) < objective(
        start, start, features, targets, 0
    )


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad, torch.enable_grad])
def test_in_every_mode_of_gradients(mode: Any) -> None:
    with mode():
        start, features, targets = example()
        fitted = fit_mask_embeddings(start, features, targets)
        assert not fitted.requires_grad
        assert not torch.equal(fitted, start)
    torch.testing.assert_close(fitted, fit_mask_embeddings(*example()))


def test_half_precision_is_computed_in_float32() -> None:
    start, features, targets = (x.bfloat16() for x in example())
    fitted = fit_mask_embeddings(start, features, targets)
    assert fitted.dtype == torch.bfloat16
    with torch.autocast("cpu", dtype=torch.bfloat16):
        wide = fit_mask_embeddings(start.float(), features.float(), targets.float())
    assert torch.equal(fitted, wide.bfloat16())


def test_arguments_stay_as_they_are() -> None:
    given_, copies = example(), example()
    fit_mask_embeddings(*given_)
    for one, same in zip(given_, copies, strict=True):
        assert torch.equal(one, same)
        assert one.grad is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"embeddings": torch.zeros(1, 3)}, r"same sizes .* \(1, 3\), \(2, 4, 5, 6\)"),
        ({"features": torch.zeros(0, 4, 5, 6), "targets": torch.zeros(0, 5, 6)}, "one pixel"),
        ({"targets": torch.zeros(2, 5, 7)}, "same sizes"),
        ({"targets": torch.zeros(2, 5, 6).bool()}, "targets"),
        ({"steps": 0}, "steps must be at least 1, got 0"),
        ({"pull": 0.0}, "pull must be above 0, got 0.0"),
        ({"pull": float("nan")}, "pull must be above 0, got nan"),
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, Any], message: str) -> None:
    names = ("embeddings", "features", "targets")
    arguments: dict[str, Any] = dict(zip(names, (x.float() for x in example()), strict=True))
    arguments |= change
    positional = [arguments.pop(name) for name in names]
    with pytest.raises(ValueError, match=message):
        fit_mask_embeddings(*positional, **arguments)
