"""Time of matching and losses of ten predictions of a clip, forward and backward."""

from __future__ import annotations

import pytest
import torch

from benchmarks.losses.contenders import CONTENDERS, Clip, make_clip


@pytest.fixture(scope="module")
def clips() -> dict[str, Clip]:
    return {}


def test_what_is_timed_is_the_same(device: str) -> None:
    """The contenders draw other points, so that their losses agree as estimates do."""
    clip = make_clip(device, layers=2, queries=20, objects=3, size=(256, 448), channels=64)
    losses = torch.stack([contender(clip).detach() for contender in CONTENDERS.values()])
    torch.testing.assert_close(losses, losses.mean().expand_as(losses), rtol=0.03, atol=0.0)


@pytest.mark.parametrize("name", CONTENDERS)
def test_step(name: str, device: str, clips: dict[str, Clip], benchmark) -> None:
    if device not in clips:
        clips[device] = make_clip(device)
    clip = clips[device]

    def step() -> None:
        CONTENDERS[name](clip).backward()
        for tensor in clip[:3]:
            tensor.grad = None
        if device == "cuda":
            torch.cuda.synchronize()

    benchmark.pedantic(step, rounds=3, warmup_rounds=1)
