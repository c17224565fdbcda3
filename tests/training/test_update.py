"""A step: what comes back, and gradients that overflow in float16."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from segblocks.data.sampler import Draw
from segblocks.training.journal import read_log
from segblocks.training.update import MOST_SKIPPED, NonFiniteError, Update
from tests.training.tiny import TinyClips, TinyStep, make_settings, make_step, run

CLIPS = [TinyClips()[Draw(0, video, "vis", 0)] for video in range(4)]


class Scaled:
    """Stands in for what accelerate makes of an optimizer: steps are skipped as it is told."""

    def __init__(self, step: TinyStep, skips: Any) -> None:
        self.param_groups: list[dict[str, Any]] = [{"params": [*step.parameters()]}]
        self._skips, self.step_was_skipped = iter(skips), False

    def zero_grad(self, *, set_to_none: bool) -> None:
        assert set_to_none
        for parameter in self.param_groups[0]["params"]:
            parameter.grad = None

    def step(self) -> None:
        self.step_was_skipped = next(self._skips)


def make_update(skips: Any, **changes: Any) -> Update:
    step = make_step()
    accelerator: Any = SimpleNamespace(
        device=torch.device("cpu"),
        scaler=object(),
        num_processes=1,
        backward=lambda loss: loss.backward(),
        unscale_gradients=lambda optimizer: None,
        no_sync=lambda module: torch.enable_grad(),
    )
    return Update(accelerator, step, Scaled(step, skips), make_settings(**changes))


def test_what_comes_back() -> None:
    found = make_update([False], batch_size=2)(CLIPS, 1)
    step = make_step()
    terms = [step(CLIPS[:2]), step(CLIPS[2:])]
    loss = sum(sum(part.values()) for part in terms) / 2
    loss.backward()
    gradients = [p.grad for p in step.parameters() if p.grad is not None]
    norm = math.sqrt(sum(float(g.square().sum()) for g in gradients))
    assert found.keys() == {"loss", "terms/square", "terms/weighted_vis", "grad_norm"}
    assert found["loss"] == pytest.approx(loss.item())
    for name in ("square", "weighted_vis"):
        mean = sum(part[name].item() for part in terms) / 2
        assert found[f"terms/{name}"] == pytest.approx(mean)
    assert found["grad_norm"] == pytest.approx(norm)


@pytest.mark.parametrize("limit", [0.3, 1e6, None])
def test_clipping(limit: float | None) -> None:
    update = make_update([False], batch_size=4, clip_norm=limit)
    norm = update(CLIPS, 1)["grad_norm"]
    left = torch.nn.utils.get_total_norm([p.grad for p in update._parameters if p.grad is not None])
    assert left.item() == pytest.approx(norm if limit is None else min(norm, limit), rel=1e-4)


def test_skipped_steps_are_counted() -> None:
    update = make_update([True, True, False, True, False])
    seen = []
    for number in range(5):
        update(CLIPS, number)
        seen.append((update.skipped, update.skipped_in_a_row, update.skipped_now))
    assert seen == [(1, 1, True), (2, 2, True), (2, 0, False), (3, 1, True), (3, 0, False)]


def test_many_in_a_row_are_too_many() -> None:
    update = make_update([True] * MOST_SKIPPED)
    for number in range(MOST_SKIPPED - 1):
        update(CLIPS, number)
    with pytest.raises(NonFiniteError, match=r"32 steps up to 31 .*video0_3; use bf16"):
        update(CLIPS, 31)


def test_infinite_gradients_are_normal_under_a_scaler() -> None:
    update = make_update([True])
    for parameter in update._parameters:
        parameter.register_hook(lambda grad: grad * float("inf"))
    found = update(CLIPS, 1)
    assert found.keys() == {"loss", "terms/square", "terms/weighted_vis"}


def test_no_terms() -> None:
    update = make_update([False])
    update._step = lambda clips: {}  # type: ignore[assignment]
    with pytest.raises(ValueError, match="returned no terms for the clips of video0_0, video0_1"):
        update(CLIPS, 1)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_half_precision_on_a_gpu(tmp_path: Path, precision: str) -> None:
    out, whole = tmp_path / "out", tmp_path / "whole"
    run(whole, make_step(0.2), precision=precision, device="cuda", steps=40, log_every=10)
    run(out, make_step(0.2), precision=precision, device="cuda", steps=25, log_every=10)
    run(out, make_step(0.2), precision=precision, device="cuda", steps=40, log_every=10)
    # The shorter run logs its last step, too.
    lines, wanted = read_log(out), read_log(whole)
    assert [line["step"] for line in lines] == [10, 20, 25, 30, 40]
    assert lines[-1]["loss"] == pytest.approx(wanted[-1]["loss"], rel=1e-6)
    assert wanted[-1]["loss"] < wanted[0]["loss"]
    assert wanted[-1]["peak_memory"] > 0
    if precision == "fp16":
        assert wanted[-1]["loss_scale"] >= 1
        assert lines[-1]["skipped"] == wanted[-1]["skipped"]
