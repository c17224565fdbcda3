"""One training step of TarViS-R50: forward, losses, backward; without the optimiser.

The official network's figures for VIS on an H200 (one clip of 3 frames of 512x960): 181 ms and
11.4 GiB in float32, 200 ms and 9.4 GiB under float16 autocast.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch

from benchmarks.conftest import DEVICES
from segblocks.data.clips import ClipDataset, ClipRule, ClipSource, TrainingClip
from segblocks.data.sampler import Draw
from segblocks.data.synthetic import SyntheticWorld, world_config
from segblocks.text import get_vocabulary
from segblocks.training.criteria import TarViSCriterion
from segblocks.training.step import TrainingStep
from segblocks.zoo import TarViS, TarViSConfig

TASKS = ("vis", "vps", "vos")
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
SIZES = {"cpu": (128, 192), "cuda": (512, 960)}


@cache
def step_on(device: str) -> TrainingStep:
    torch.manual_seed(0)
    model = TarViS(TarViSConfig(vocabularies=("synthetic",)))
    return TrainingStep(model, TarViSCriterion()).train().to(device)


def clip_for(task: str, size: tuple[int, int], device: str) -> TrainingClip:
    config = world_config(size=size, num_frames=3)
    assert config.vocabulary == get_vocabulary("synthetic")
    source = ClipSource(
        SyntheticWorld(config, length=1), ClipRule(num_frames=3, reach=2), tasks={task: 1.0}
    )
    return ClipDataset([source])[Draw(0, 0, task, 0)].to(device)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("device", DEVICES)
def bench_step(device: str, task: str, dtype: str, bench: Callable, benchmark: Any) -> None:
    benchmark.group = f"{device}-{task}"
    step, clip = step_on(device), clip_for(task, SIZES[device], device)

    def train() -> None:
        with torch.autocast(device, DTYPES[dtype], enabled=dtype != "fp32"):
            losses = step([clip])
        torch.stack(list(losses.values())).sum().backward()
        step.zero_grad()

    bench(train)
