"""The loop with a whole system: TarViS on the synthetic world."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from segblocks.data.clips import ClipDataset, ClipRule, ClipSource
from segblocks.data.synthetic import SyntheticWorld, world_config
from segblocks.training import LoopSettings, TrainingStep, train
from segblocks.training.criteria import TarViSCriterion
from segblocks.zoo import create_model
from tests.training.tiny import curve, weights


def make_data() -> ClipDataset:
    world = SyntheticWorld(world_config("tiny"), length=6)
    rule = ClipRule(num_frames=2, point_share=0.5)
    tasks = {"vis": 1.0, "vps": 1.0, "vos": 2.0}
    return ClipDataset([ClipSource(world, rule, tasks=tasks)])


def make_step() -> TrainingStep:
    torch.manual_seed(0)
    model = create_model("tarvis_nano", checkpoint="random", neck_layers=1, decoder_layers=2)
    return TrainingStep(model, TarViSCriterion(num_points=64))


def run(out: Path, steps: int, step: TrainingStep | None = None) -> None:
    settings = LoopSettings(
        steps=steps,
        batch_size=1,
        accumulate=2,
        ema=0.9,
        chunk=1,
        log_every=1,
        save_every=2,
        workers=0,
        seed=5,
    )
    step = step or make_step()
    train(step, make_data(), settings, out=out, progress=False, device="cpu")


def test_a_training_that_was_cut_is_the_same(tmp_path: Path) -> None:
    run(tmp_path / "whole", 2)
    run(tmp_path / "cut", 1)
    run(tmp_path / "cut", 2)
    assert curve(tmp_path / "cut") == curve(tmp_path / "whole")
    assert weights(tmp_path / "cut") == weights(tmp_path / "whole")
    assert len({frozenset(line["terms"]) for line in curve(tmp_path / "whole")}) > 1


def test_errors_of_a_step_name_the_clips(tmp_path: Path) -> None:
    step = make_step()
    with torch.no_grad():
        next(step.model.neck.parameters()).fill_(float("nan"))
    with pytest.raises(ValueError, match="must be finite, got nan") as caught:
        run(tmp_path, 1, step)
    assert "in step 1, on the clips of synthetic_" in caught.value.__notes__[0]
