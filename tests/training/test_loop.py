"""The loop: the same training however it is cut, and what stops it."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from segblocks.training.checkpoints import latest_checkpoint, weights_file
from segblocks.training.journal import LOG_FILE, TENSORBOARD_FOLDER, read_log
from segblocks.training.loader import make_sampler
from segblocks.training.loop import train
from segblocks.training.schedule import Schedule
from segblocks.training.update import NonFiniteError
from segblocks.zoo.checkpoint import load_checkpoint
from tests.training.tiny import (
    TinyClip,
    TinyClips,
    TinyStep,
    curve,
    make_settings,
    make_step,
    run,
    weights,
)


class Watched(nn.Module):
    """Call something before each batch, with the number of the batch, counted from 1."""

    def __init__(self, step: TinyStep, call: Any) -> None:
        super().__init__()
        self.step, self.model = step, step.model
        self.call, self.batches = call, 0

    def forward(self, clips: Sequence[TinyClip]) -> dict[str, Tensor]:
        self.batches += 1
        self.call(self.batches)
        return self.step(clips)


def stop_at(number: int) -> Watched:
    def call(batch: int) -> None:
        if batch == number:
            os.kill(os.getpid(), signal.SIGTERM)

    return Watched(make_step(0.2), call)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole")
    assert run(out, log_every=3).finished
    return out


def test_it_equals_a_loop_by_hand(tmp_path: Path) -> None:
    settings = make_settings(clip_norm=0.5)
    step = make_step()
    model = step.model
    backbone = [*model.backbone.parameters()]
    heads = [*model.heads.parameters(), model.rare]
    rates = [0.001, 0.01, 0.01]
    optimizer = torch.optim.AdamW(
        [
            {"params": backbone, "weight_decay": 0.05},
            {"params": heads, "weight_decay": 0.05},
            {"params": [*model.norm.parameters()], "weight_decay": 0.0},
        ]
    )
    clips = TinyClips()
    losses, norms = [], []
    for i, draws in enumerate(make_sampler(clips, settings)):
        factor = min(1.0, (i + 1) / 3) * (0.1 if i >= 9 else 1.0)
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * factor
        loss = sum(step([clips[draw] for draw in draws]).values())
        optimizer.zero_grad()
        loss.backward()
        norms.append(float(nn.utils.clip_grad_norm_(model.parameters(), 0.5)))
        optimizer.step()
        losses.append(loss.item())
    trained = make_step()
    run(tmp_path, trained, clip_norm=0.5)
    lines = curve(tmp_path)
    assert [line["loss"] for line in lines] == pytest.approx(losses, rel=1e-6)
    assert [line["grad_norm"] for line in lines] == pytest.approx(norms, rel=1e-6)
    assert max(norms) > 0.5
    for name, value in model.state_dict().items():
        assert torch.allclose(trained.model.state_dict()[name], value, atol=1e-6), name


def test_what_is_in_the_folder(whole: Path) -> None:
    assert sorted(path.name for path in whole.iterdir()) == [
        "checkpoints",
        LOG_FILE,
        TENSORBOARD_FOLDER,
    ]
    names = [path.name for path in sorted((whole / "checkpoints").iterdir())]
    assert names == ["step_00000004", "step_00000008", "step_00000012"]
    last = latest_checkpoint(whole)
    assert last is not None
    state = load_checkpoint(weights_file(last, averaged=False))
    averaged = load_checkpoint(weights_file(last))
    assert state.keys() == averaged.keys() == make_step().model.state_dict().keys()
    assert not torch.equal(state["rare"], averaged["rare"])
    # One line of the log for three steps, with the means of what came.
    lines = read_log(whole)
    assert [line["step"] for line in lines] == [3, 6, 9, 12]
    for line in lines:
        assert line["peak_memory"] > 10_000_000
        assert line["clips_per_second"] == pytest.approx(2 / line["seconds"])
        assert 0 <= line["data_seconds"] <= line["seconds"]


def test_means_of_the_log(whole: Path, tmp_path: Path) -> None:
    run(tmp_path, log_every=1)
    every, means = curve(tmp_path), curve(whole)
    for i, line in enumerate(means):
        part = every[3 * i : 3 * i + 3]
        assert line["loss"] == pytest.approx(np.mean([one["loss"] for one in part]))
        for name, value in line["terms"].items():
            there = [one["terms"][name] for one in part if name in one["terms"]]
            assert value == pytest.approx(np.mean(there))
    assert len({frozenset(line["terms"]) for line in every}) == 2
    assert weights(tmp_path) == weights(whole)


@pytest.mark.parametrize("stop", [1, 4, 7])
def test_stopping_and_going_on_changes_nothing(whole: Path, tmp_path: Path, stop: int) -> None:
    first = run(tmp_path, stop_at(stop), log_every=3)
    assert (first.step, first.finished) == (stop, False)
    assert first.checkpoint.name == f"step_{stop:08d}"
    # What else draws from the generators in between has no influence.
    torch.rand(5), np.random.rand(5), random.random()  # noqa: NPY002
    second = run(tmp_path, make_step(0.2), log_every=3)
    assert (second.step, second.finished) == (12, True)
    assert curve(tmp_path) == curve(whole)
    assert weights(tmp_path) == weights(whole)


def test_handlers_are_put_back(tmp_path: Path) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    run(tmp_path, stop_at(1))
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before


def test_a_finished_training_is_left_alone(whole: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in (whole / "checkpoints").rglob("*")}
    step = make_step(0.2)
    summary = run(whole, step, log_every=3)
    assert (summary.step, summary.finished) == (12, True)
    assert {path: path.stat().st_mtime_ns for path in (whole / "checkpoints").rglob("*")} == before
    trained = load_checkpoint(weights_file(summary.checkpoint, averaged=False))
    assert all(torch.equal(trained[k], v) for k, v in step.model.state_dict().items())


def test_a_training_can_be_made_longer(whole: Path, tmp_path: Path) -> None:
    run(tmp_path / "short", steps=8)
    run(tmp_path / "short", steps=12)
    assert weights(tmp_path / "short") == weights(whole)


def test_beginning_anew(whole: Path, tmp_path: Path) -> None:
    run(tmp_path, make_step(0.2), steps=5, learning_rate=0.5, ema=None)
    assert run(tmp_path, resume=False, log_every=3).finished
    assert curve(tmp_path) == curve(whole)
    assert weights(tmp_path) == weights(whole)


def test_other_settings_are_refused(tmp_path: Path) -> None:
    run(tmp_path, steps=1, workers=0)
    with pytest.raises(
        ValueError, match=r"other settings: .*learning_rate is 0\.01 there and 0\.02"
    ):
        run(tmp_path, learning_rate=0.02)
    with pytest.raises(ValueError, match=r"schedule\.warmup is 3 there and 4 here.*resume=False"):
        run(tmp_path, schedule=Schedule(warmup=4, milestones=(9,)))
    with pytest.raises(ValueError, match="clips_per_step is 2 there and 6 here"):
        run(tmp_path, accumulate=3)
    with pytest.raises(ValueError, match=r"on other data: .* sources \[\[24"):
        run(tmp_path, data=TinyClips(30))
    assert run(tmp_path, steps=2, save_every=1, log_every=2).step == 2


@pytest.mark.parametrize("batch_size", [1, 2, 3])
def test_accumulation_equals_the_bigger_batch(tmp_path: Path, batch_size: int) -> None:
    trained = []
    for name, options in (
        ("big", {"batch_size": 6}),
        ("parts", {"batch_size": batch_size, "accumulate": 6 // batch_size}),
    ):
        step = make_step(joined=False)
        # The mean of weighted squares, which is the mean over parts of equal size.
        run(tmp_path / name, step, **options)
        trained.append(step.model.state_dict())
    big, parts = curve(tmp_path / "big"), curve(tmp_path / "parts")
    for one, other in zip(big, parts, strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-5)
        assert one["terms"] == pytest.approx(other["terms"], rel=1e-5)
        assert one["grad_norm"] == pytest.approx(other["grad_norm"], rel=1e-5)
    for name in ("rare", "backbone.weight", "heads.vis.bias"):
        assert torch.allclose(trained[0][name], trained[1][name], atol=1e-5)


def test_frozen_parameters_stay(tmp_path: Path) -> None:
    step = make_step()
    before = {name: value.clone() for name, value in step.model.state_dict().items()}
    run(tmp_path, step, frozen=("backbone", "heads.vis.bias"), weight_decay=0.5)
    changed = {
        name
        for name, value in step.model.state_dict().items()
        if not torch.equal(value, before[name])
    }
    assert {"rare", "norm.bias", "heads.vis.weight", "heads.vos.bias"} <= changed
    assert not changed & {"backbone.weight", "backbone.bias", "heads.vis.bias"}


def test_workers_change_nothing(whole: Path, tmp_path: Path) -> None:
    run(tmp_path, log_every=3, workers=1)
    assert curve(tmp_path) == curve(whole)
    assert weights(tmp_path) == weights(whole)


def test_what_happens_on_saving_changes_nothing(whole: Path, tmp_path: Path) -> None:
    step, seen = make_step(0.2), []

    def look(folder: Path) -> None:
        torch.rand(3), np.random.rand(3), random.random()  # noqa: NPY002
        step.eval()
        seen.append((folder.name, json.loads((folder / "checkpoint.json").read_text())["step"]))

    run(tmp_path, step, on_save=look, log_every=3)
    assert seen == [(f"step_{number:08d}", number) for number in (4, 8, 12)]
    assert weights(tmp_path) == weights(whole)


def test_losses_that_are_not_finite_name_the_clips(tmp_path: Path) -> None:
    settings = make_settings()
    draws = list(islice(make_sampler(TinyClips(), settings), 12))
    number, draw = next(
        (i + 1, batch[1]) for i, batch in enumerate(draws) if i >= 5 and batch[1].dataset == 0
    )
    step = make_step(0.2)
    with pytest.raises(NonFiniteError, match=rf"step {number} .*square nan.*video0_{draw.video};"):
        run(tmp_path, step, data=TinyClips(bad=(draw.video,)))
    assert all(bool(value.isfinite().all()) for value in step.model.state_dict().values())
    assert [line["step"] for line in read_log(tmp_path)] == list(range(1, number))
    last = latest_checkpoint(tmp_path)
    assert last is not None
    assert int(last.name[5:]) == (number - 1) // 4 * 4


def test_gradients_that_are_not_finite_name_the_clips(tmp_path: Path) -> None:
    class Root(TinyStep):
        def forward(self, clips: Sequence[TinyClip]) -> dict[str, Tensor]:
            zero = self.model.rare.sum() * 0
            return {**super().forward(clips), "root": zero.sqrt()}

    step = Root(make_step().model)
    before = {name: value.clone() for name, value in step.model.named_parameters()}
    with pytest.raises(NonFiniteError, match=r"gradient of step 1 has the norm nan for the cl"):
        run(tmp_path, step)
    assert all(torch.equal(before[k], v) for k, v in step.model.named_parameters())


def test_bfloat16(tmp_path: Path) -> None:
    kinds = []

    class Kind(TinyStep):
        def forward(self, clips: Sequence[TinyClip]) -> dict[str, Tensor]:
            kinds.append(self.model.backbone(clips[0].inputs).dtype)
            return super().forward(clips)

    step = Kind(make_step().model)
    run(tmp_path / "bf16", step, precision="bf16", steps=3)
    run(tmp_path / "fp32", make_step(), steps=3)
    assert set(kinds) == {torch.bfloat16}
    assert {p.dtype for p in step.model.parameters()} == {torch.float32}
    assert not step.training
    # Outside the loop it is what it was.
    step([TinyClips()[draw] for draw in next(iter(make_sampler(TinyClips(), make_settings())))])
    assert kinds[-1] == torch.float32
    half, single = curve(tmp_path / "bf16"), curve(tmp_path / "fp32")
    assert half[0]["loss"] == pytest.approx(single[0]["loss"], rel=0.03)
    assert half[0]["loss"] != single[0]["loss"]


def test_what_cannot_be_trained(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="step must have a module as its model, got NoneType"):
        run(tmp_path, nn.Linear(1, 1))
    step = make_step()
    step.extra = nn.Linear(1, 1)
    with pytest.raises(ValueError, match=r"parameters outside its model.*extra\.weight"):
        run(tmp_path, step)
    with pytest.raises(ValueError, match="device must be cpu or cuda, got meta"):
        train(make_step(), TinyClips(), make_settings(), out=tmp_path, device="meta")
    with pytest.raises(ValueError, match="fp16 needs a GPU"):
        run(tmp_path, precision="fp16")


def test_the_last_of_keep_stay(tmp_path: Path) -> None:
    run(tmp_path, save_every=2, keep=2)
    names = [path.name for path in sorted((tmp_path / "checkpoints").iterdir())]
    assert names == ["step_00000010", "step_00000012"]


def test_processes_that_load_end_with_an_error(tmp_path: Path) -> None:
    def fail(batch: int) -> None:
        raise ArithmeticError(f"in batch {batch}")

    with pytest.raises(ArithmeticError) as caught:
        train(Watched(make_step(), fail), TinyClips(), make_settings(workers=1), out=tmp_path)
    # The traceback still holds whatever was there when it was raised.
    assert caught.tb is not None
    assert not multiprocessing.active_children()
