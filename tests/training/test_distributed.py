"""Several processes equal one with all clips, and agree about everything."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from segblocks.training.checkpoints import latest_checkpoint, weights_file
from segblocks.training.distributed import any_process, gather, mean_over_processes
from segblocks.zoo.checkpoint import load_checkpoint
from tests.training.tiny import curve, make_step, run

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("together")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run(
        [*command, "-m", "tests.training.together", str(out)],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return out


@pytest.fixture(scope="module")
def seen(together: Path) -> list[dict[str, Any]]:
    return json.loads((together / "seen.json").read_text())


def state(out: Path, *, averaged: bool) -> dict[str, torch.Tensor]:
    last = latest_checkpoint(out)
    assert last is not None
    return load_checkpoint(weights_file(last, averaged=averaged))


@pytest.mark.parametrize(("name", "clips"), [("plain", 4), ("parts", 8)])
def test_two_processes_equal_one(together: Path, tmp_path: Path, name: str, clips: int) -> None:
    run(tmp_path, make_step(joined=name == "plain"), batch_size=clips)
    there, here = curve(together / name), curve(tmp_path)
    assert len(there) == len(here) == 12
    for one, other in zip(there, here, strict=True):
        assert one["step"] == other["step"]
        assert one["terms"].keys() == other["terms"].keys()
        for what in ("loss", "grad_norm", "learning_rate"):
            assert one[what] == pytest.approx(other[what], rel=1e-5)
        for term, value in one["terms"].items():
            assert value == pytest.approx(other["terms"][term], rel=1e-5)
    for averaged in (False, True):
        ours, theirs = state(tmp_path, averaged=averaged), state(together / name, averaged=averaged)
        for key in ours.keys() - {"count"}:
            assert torch.allclose(ours[key], theirs[key], rtol=1e-5, atol=1e-6), key


def test_the_clips_were_shared(together: Path) -> None:
    # The batch of one process, counted in calls of the model.
    assert int(state(together / "plain", averaged=False)["count"]) == 2 * 12


def test_one_signal_stops_all(seen: list[dict[str, Any]]) -> None:
    for one in seen:
        assert one["stopped"] == [5, False]
        assert one["gone_on"] == [12, True]
        assert one["same"]


def test_bad_clips_of_one_stop_all(seen: list[dict[str, Any]]) -> None:
    assert all(
        "is not finite" in one["message"] or "has the norm" in one["message"] for one in seen
    )
    assert any("square nan" in one["message"] for one in seen)


def test_all_must_see_one_folder(seen: list[dict[str, Any]]) -> None:
    assert all("out must be one folder for all processes" in one["own_folders"] for one in seen)


def test_what_processes_tell_each_other(seen: list[dict[str, Any]]) -> None:
    for one in seen:
        assert one["mean"] == [1.5, 5.0]
        assert not one["needs_grad"]
        assert one["any"] == [True, False]


def test_alone() -> None:
    value = torch.tensor([2.0], requires_grad=True)
    assert mean_over_processes(value).tolist() == [2.0]
    assert not mean_over_processes(value).requires_grad
    assert any_process(True, value.device)
    assert not any_process(False, value.device)
    assert gather("a") == ["a"]
