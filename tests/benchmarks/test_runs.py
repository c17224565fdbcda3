"""Runs of an ablation: each once, over several calls, and never mixed with another budget's."""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path

import pytest
from torch import nn

from benchmarks.learning import budget
from benchmarks.learning.runs import Ablation, Numbers, add_runs, run_folder
from segblocks.data.clips import ClipDataset, ClipSource
from segblocks.data.synthetic import SyntheticWorld
from segblocks.training import LoopSettings
from segblocks.training.loop import TrainingSummary

VARIANTS = {"full": None, "a part less (all)": None}


def options(out: Path, *words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_runs(parser, VARIANTS)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--size", type=int, nargs=2, default=(2, 3))
    return parser.parse_args(["--out", str(out), *words])


class Counted:
    def __init__(self) -> None:
        self.done: list[tuple[str, int]] = []

    def __call__(self, name: str, seed: int) -> Numbers:
        self.done.append((name, seed))
        return {"AP": seed / 10, "of none": math.nan}


def ablation(measure: Counted) -> Ablation:
    return Ablation("few", {"nothing": lambda: {"AP": 0.05}}, VARIANTS, measure)


def test_a_later_call_does_what_is_left(tmp_path: Path) -> None:
    measure = Counted()
    ablation(measure).run(options(tmp_path, "--variants", "full", "--seeds", "0"))
    assert measure.done == [("full", 0)]
    ablation(measure).run(options(tmp_path, "--seeds", "0", "1"))
    assert measure.done[1:] == [("a part less (all)", 0), ("full", 1), ("a part less (all)", 1)]
    stored = json.loads((tmp_path / "few.json").read_text())
    assert stored["runs"]["nothing"] == {"0": {"AP": 0.05}}
    assert stored["runs"]["full"] == {
        "0": {"AP": 0.0, "of none": None},
        "1": {"AP": 0.1, "of none": None},
    }
    table = (tmp_path / "few.md").read_text()
    assert "| full | 5.0 | - |" in table
    ablation(measure).run(options(tmp_path, "--seeds", "0", "1"))
    assert len(measure.done) == 4


def test_an_interrupted_call_keeps_what_it_has(tmp_path: Path) -> None:
    def fail(name: str, seed: int) -> Numbers:
        if name != "full":
            raise RuntimeError("out of memory")
        return {"AP": 1.0}

    with pytest.raises(RuntimeError, match="out of memory"):
        Ablation("few", {}, VARIANTS, fail).run(options(tmp_path))
    assert json.loads((tmp_path / "few.json").read_text())["runs"] == {"full": {"0": {"AP": 1.0}}}


def test_another_budget_is_refused(tmp_path: Path) -> None:
    measure = Counted()
    ablation(measure).run(options(tmp_path, "--seeds", "0"))
    with pytest.raises(ValueError, match=r"few\.json holds runs with another steps"):
        ablation(measure).run(options(tmp_path, "--steps", "6"))
    assert len(measure.done) == 2


def test_a_folder_for_each_training(tmp_path: Path) -> None:
    args = options(tmp_path, "--work", str(tmp_path / "w"))
    assert run_folder(args, "a part less (all)", 2) == tmp_path / "w/a_part_less__all_/seed_2"
    assert run_folder(options(tmp_path), "tau 0.2", 0) == tmp_path / "tau_0.2/seed_0"


def test_calls_beside_each_other_share_a_report(tmp_path: Path) -> None:
    other = Counted()

    class Slow(Counted):
        def __call__(self, name: str, seed: int) -> Numbers:
            if not self.done:
                ablation(other).run(options(tmp_path, "--seeds", "1"))
            return super().__call__(name, seed)

    measure = Slow()
    ablation(measure).run(options(tmp_path, "--seeds", "0", "1"))
    assert measure.done == [("full", 0), ("a part less (all)", 0)]
    stored = json.loads((tmp_path / "few.json").read_text())["runs"]
    assert list(stored) == ["nothing", *VARIANTS]
    assert all(set(stored[name]) == {"0", "1"} for name in VARIANTS)


def test_a_training_that_is_stopped_is_no_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*_: object, **options: object) -> TrainingSummary:
        assert options == {"out": Path("o")}
        return TrainingSummary(7, finished=False, checkpoint=Path("o"), skipped=0, seconds=1.0)

    monkeypatch.setattr(budget, "train", stopped)
    dataset = ClipDataset([ClipSource(SyntheticWorld(length=1), tasks={"vis": 1.0})])
    with pytest.raises(SystemExit, match="stopped after 7 steps; the same command goes on"):
        budget.train_to_end(nn.Identity(), dataset, LoopSettings(steps=9), out=Path("o"))
