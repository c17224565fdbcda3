"""``segblocks evaluate`` in several processes, which launchers start, on the synthetic world."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from segblocks import zoo
from segblocks.cli import main
from segblocks.zoo.rule_weights import fill_by_rule

REPOSITORY = Path(__file__).parents[2]
WORLD = ["preset=tiny", "task=vos", "length=3", "seed=4", "num_frames=3"]
# Accelerate starts several processes for GPUs alone, whatever they then run on.
ACCELERATE = (
    "accelerate.commands.launch --multi_gpu --num_processes 2 --num_machines 1 "
    "--mixed_precision no --dynamo_backend no --main_process_port 0 --module"
)
LAUNCHERS = {
    "torchrun": ["torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m"],
    "accelerate": ACCELERATE.split(),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, and its numbers by one process."""
    folder = tmp_path_factory.mktemp("launched")
    model: Any = zoo.create_model("tarvis_nano", checkpoint="random", neck_layers=1)
    fill_by_rule(model)
    model.save_pretrained(folder / "model")
    assert main(words(folder, "single")) == 0
    return folder


def words(folder: Path, out: str, *more: str) -> list[str]:
    options = [word for option in WORLD for word in ("--dataset-option", option)]
    common = ["evaluate", "--dataset", "synthetic", *options, "--out", str(folder / out)]
    model = ["--model", str(folder / "model"), "--short-side", "0", "--device", "cpu"]
    return [*common, *model, *more]


def launch(launcher: str, *command: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": f"{REPOSITORY}:kernels"}
    call = [sys.executable, "-m", *LAUNCHERS[launcher], "segblocks.cli", *command]
    return subprocess.run(
        call, capture_output=True, text=True, env=environment, cwd=REPOSITORY, timeout=300
    )


def numbers(folder: Path, out: str) -> dict[str, Any]:
    content = json.loads((folder / out / "metrics.json").read_text())
    del content["run"]["made_with"]
    return content


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_processes_share_the_videos(launcher: str, folder: Path) -> None:
    pytest.importorskip(LAUNCHERS[launcher][0].partition(".")[0])
    done = launch(launcher, *words(folder, launcher))
    assert done.returncode == 0, done.stderr
    assert numbers(folder, launcher) == numbers(folder, "single")
    # The first process speaks for both: one table, and the bar of its own two videos.
    assert done.stdout.count("synthetic, 3 videos") == 1
    assert "2/2" in done.stderr
    assert "1/1" not in done.stderr
    assert sorted(os.listdir(folder / launcher)) == sorted(os.listdir(folder / "single"))


def test_restart(folder: Path) -> None:
    out = folder / "again"
    (out / "records").mkdir(parents=True)
    (out / "evaluation.json").write_text('{"format": "segblocks.evaluation", "version": 1}')
    (out / "mine.txt").write_text("stays")
    done = launch("torchrun", *words(folder, "again", "--restart", "--no-progress"))
    assert done.returncode == 0, done.stderr
    assert numbers(folder, "again") == numbers(folder, "single")
    assert (out / "mine.txt").exists()
    assert "it/s" not in done.stderr


def test_shards_are_for_processes_without_a_launcher(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RANK", "LOCAL_RANK"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main(words(folder, "refused", "--shard", "1/2")) == 2
    assert "--shard is what the launcher's processes do" in capsys.readouterr().err
    assert not (folder / "refused").exists()


def test_a_gpu_each(monkeypatch: pytest.MonkeyPatch) -> None:
    from segblocks.cli import device
    from segblocks.inference import checks

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(checks, "find_device", lambda name, _: torch.device(name))
    assert device.choose_device(None, 3) == torch.device("cuda:3")
    assert device.choose_device("cuda", 3) == torch.device("cuda:3")
    assert device.choose_device("cuda:1", 3) == torch.device("cuda:1")
    assert device.choose_device("cpu", 3) == torch.device("cpu")
    assert device.choose_device(None) == torch.device("cuda")
