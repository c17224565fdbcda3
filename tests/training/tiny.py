"""A training that takes milliseconds a step: clips of numbers, a model of a few weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from segblocks.data.sampler import Draw, Source
from segblocks.training.checkpoints import AVERAGED_FILE, MODEL_FILE, latest_checkpoint
from segblocks.training.distributed import mean_over_processes
from segblocks.training.journal import read_log
from segblocks.training.loop import TrainingSummary, train
from segblocks.training.schedule import Schedule
from segblocks.training.settings import LoopSettings


@dataclass(frozen=True)
class TinyClip:
    name: str
    inputs: Tensor
    target: Tensor
    weight: Tensor
    task: str

    def to(self, device: torch.device) -> TinyClip:
        moved = [value.to(device) for value in (self.inputs, self.target, self.weight)]
        return replace(self, inputs=moved[0], target=moved[1], weight=moved[2])


class TinyClips:
    """Points of the plane, and a curve over them; the same for the same draw."""

    def __init__(self, length: int = 24, bad: tuple[int, ...] = ()) -> None:
        self.length, self.bad = length, bad

    def sources_for_sampler(self) -> list[Source]:
        tasks = {"vis": 0.5, "vos": 0.5}
        return [Source(self.length, 1.0, tasks), Source(self.length // 2, 0.5, tasks)]

    def __getitem__(self, draw: Draw) -> TinyClip:
        rng = np.random.default_rng([draw.dataset, draw.video, draw.repeat])
        inputs = torch.from_numpy(rng.normal(size=(5, 4)).astype(np.float32))
        target = inputs.sin().sum(1) + (draw.task == "vos")
        if draw.dataset == 0 and draw.video in self.bad:
            target = target * float("nan")
        weight = torch.tensor(float(rng.integers(1, 4)))
        return TinyClip(f"video{draw.dataset}_{draw.video}", inputs, target, weight, draw.task)


class TinyModel(nn.Module):
    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.backbone = nn.Linear(4, 8)
        self.norm = nn.LayerNorm(8)
        self.dropout = nn.Dropout(dropout)
        self.heads = nn.ModuleDict({"vis": nn.Linear(8, 1), "vos": nn.Linear(8, 1)})
        # Used by some clips only, as the embeddings of hinted points are.
        self.rare = nn.Parameter(torch.ones(8))
        self.register_buffer("count", torch.zeros(()))

    def forward(self, inputs: Tensor, task: str, rare: bool) -> Tensor:
        self.count += 1
        hidden = self.dropout(self.norm(self.backbone(inputs)).relu())
        return self.heads[task](hidden * self.rare if rare else hidden)[:, 0]


class TinyStep(nn.Module):
    """Two terms, of which one may be divided by what all processes have together."""

    def __init__(self, model: nn.Module, *, joined: bool = True) -> None:
        super().__init__()
        self.model, self.joined = model, joined

    def forward(self, clips: Sequence[TinyClip]) -> dict[str, Tensor]:
        squares = [
            (self.model(clip.inputs, clip.task, bool(clip.weight == 3)) - clip.target)
            .square()
            .mean()
            for clip in clips
        ]
        weights = torch.stack([clip.weight for clip in clips])
        total = mean_over_processes(weights.sum()) if self.joined else len(clips)
        return {
            "square": torch.stack(squares).mean(),
            f"weighted_{clips[0].task}": (weights * torch.stack(squares)).sum() / total,
        }


def make_step(dropout: float = 0.0, *, joined: bool = True) -> TinyStep:
    torch.manual_seed(0)
    return TinyStep(TinyModel(dropout), joined=joined)


def make_settings(**changes: Any) -> LoopSettings:
    numbers: dict[str, Any] = {
        "steps": 12,
        "batch_size": 2,
        "learning_rate": 0.01,
        "clip_norm": 1.0,
        "schedule": Schedule(warmup=3, milestones=(9,)),
        "ema": 0.9,
        "log_every": 1,
        "save_every": 4,
        "workers": 0,
        "chunk": 2,
        "seed": 1,  # both tasks and both datasets come in the first steps
    }
    return LoopSettings(**numbers | changes)


def run(out: Path, step: nn.Module | None = None, **options: Any) -> TrainingSummary:
    loop = {name: options.pop(name) for name in ("resume", "on_save") if name in options}
    data = options.pop("data", None) or TinyClips()
    device = options.pop("device", "cpu")
    return train(
        step or make_step(0.2),
        data,
        make_settings(**options),
        out=out,
        progress=False,
        device=device,
        **loop,
    )


def curve(out: Path) -> list[dict[str, Any]]:
    """What the log says, but for times and memory, which differ from run to run."""
    varying = {"seconds", "data_seconds", "clips_per_second", "peak_memory"}
    return [{k: v for k, v in line.items() if k not in varying} for line in read_log(out)]


def weights(out: Path) -> tuple[bytes, bytes]:
    """The weights of the last checkpoint and their averages, to the last bit."""
    last = latest_checkpoint(out)
    assert last is not None
    return (last / MODEL_FILE).read_bytes(), (last / AVERAGED_FILE).read_bytes()
