"""UniVS-R50 on one clip of 5 frames: encoding it, and the decoder for several sets of tasks.

Two objects are hinted at; "objects" is what a video with hints alone needs, without the learnable
queries that a category task or an expression reads.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import pytest
import torch

from benchmarks.conftest import DEVICES
from segblocks.tasks import VIS, VOS, RefVOS, Task
from segblocks.zoo import UniVS, UniVSConfig

FRAMES = 5
SIZES = {"cpu": (240, 416), "cuda": (640, 1152)}
DTYPES = {"fp32": torch.float32, "fp16": torch.float16}
PARTS = ("encode", "objects", "objects and instances", "objects, instances, expressions")


@cache
def model_on(device: str) -> UniVS:
    torch.manual_seed(0)
    # The embeddings' content costs nothing; hashes need no download.
    config = UniVSConfig(text_encoder="hash/640", text_templates="name")
    return UniVS(config).eval().to(device)


def tasks_of(part: str, size: tuple[int, int]) -> list[Task]:
    masks = torch.zeros(2, *size, dtype=torch.bool)
    masks[0, 40:120, 40:120] = True
    masks[1, 100:200, 160:300] = True
    tasks: list[Task] = [VOS(masks)]
    if "instances" in part:
        tasks.append(VIS("youtube_vis_2021"))
    if "expressions" in part:
        tasks.append(RefVOS(["the red car on the left", "a dog"]))
    return tasks


def decode(model: UniVS, tasks: list[Task], frames: torch.Tensor, features: Any) -> None:
    size = (int(frames.shape[-2]), int(frames.shape[-1]))
    policy = model.video_policy(tasks)
    state = policy.start(size, size)
    asked = policy.hints(state, FRAMES)
    assert asked is not None
    model(frames, asked, state=state, features=features)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("device", DEVICES)
def bench_univs(device: str, part: str, dtype: str, bench: Callable, benchmark: Any) -> None:
    benchmark.group = f"{device}-univs"
    if device == "cpu" and dtype != "fp32":
        pytest.skip("half precision is for GPUs")
    size = SIZES[device]
    frames = torch.randint(0, 256, (1, FRAMES, 3, *size)).to(device, torch.uint8)
    model = model_on(device)
    autocast = torch.autocast(device, DTYPES[dtype], enabled=dtype != "fp32")
    with torch.inference_mode(), autocast:
        if part == "encode":
            bench(partial(model.extract, frames))
        else:
            bench(partial(decode, model, tasks_of(part, size), frames, model.extract(frames)))
