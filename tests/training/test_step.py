"""What a criterion may ask of a model, and what of it lasts from step to step."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from segblocks.training.step import TrainingStep
from tests.training.tiny import TinyStep, make_step, run


@dataclass(frozen=True)
class Clip:
    frames: Tensor
    tasks: tuple[str, ...] = ("any",)
    seed: tuple[int, ...] = (0,)


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.calls: list[dict[str, Any]] = []

    def forward_clips(self, frames: Tensor, tasks: Any, **options: Any) -> tuple[Tensor, ...]:
        del options["generators"]
        self.calls.append({"clips": len(frames), **options})
        return tuple(frames.float().mean((1, 2, 3, 4)))


class Plain(nn.Module):
    def forward(self, outputs: list[Tensor], clips: list[Clip]) -> dict[str, Tensor]:
        return {"mean": torch.stack(outputs).mean()}


class Asking(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.updated: list[nn.Module] = []

    def model_options(self, clips: list[Clip]) -> dict[str, Any]:
        return {"lengths": [len(clip.frames) for clip in clips]}

    def after_update(self, model: nn.Module) -> None:
        self.updated.append(model)


def test_a_criterion_may_ask_for_more_for_clips_of_one_size() -> None:
    long, short = (Clip(torch.ones(n, 3, 4, 4, dtype=torch.uint8)) for n in (3, 2))
    model = Model()
    TrainingStep(model, Plain())([long, short, long])
    assert model.calls == [{"clips": 2}, {"clips": 1}]
    model.calls.clear()
    step = TrainingStep(model, Asking())
    step([long, short, long])
    assert model.calls == [{"clips": 2, "lengths": [3, 3]}, {"clips": 1, "lengths": [2]}]
    step.after_update()
    assert step.criterion.updated == [model]
    TrainingStep(model, Plain()).after_update()


class Counting(TinyStep):
    """Counts clips while it goes forward, and takes the count over when a step is done."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model)
        self.register_buffer("history", torch.zeros(12))
        # As caches of positions are.
        self.register_buffer("passing", torch.zeros(()), persistent=False)
        self.waiting = 0

    def forward(self, clips: Any) -> dict[str, Tensor]:
        self.waiting += len(clips)
        return super().forward(clips)

    def after_update(self) -> None:
        place = int((self.history > 0).sum())
        self.history[place] = self.waiting
        self.waiting = 0


def test_what_a_step_holds_beside_its_model_is_in_the_checkpoint(tmp_path: Path) -> None:
    def stopped(path: Path) -> None:
        raise KeyboardInterrupt

    first = Counting(make_step().model)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, first, batch_size=2, accumulate=2, on_save=stopped)
    # One call a step of the optimiser, after all its parts.
    assert first.history.tolist() == [4.0] * 4 + [0.0] * 8
    second = Counting(make_step().model)
    run(tmp_path, second, batch_size=2, accumulate=2)
    assert second.history.tolist() == [4.0] * 12
