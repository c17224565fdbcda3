"""TarViS-R50 on one clip: the whole, and each part on the output of the one before.

The official network's figures for the same clip on an H200 (12 frames of 480x864, 40 classes):
193 ms and 5.6 GiB in float32, 126 ms and 3.4 GiB under float16 autocast; backbone and neck alone
147 and 89 ms.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from benchmarks.conftest import DEVICES
from segblocks.tasks import VIS
from segblocks.zoo import Mask2FormerVIS, TarViS, TarViSConfig

TASK = VIS("youtube_vis_2021")
PARTS = ("backbone", "neck", "whole")
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


class Shape(NamedTuple):
    frames: int
    height: int
    width: int


SHAPES = {"cpu": Shape(3, 128, 192), "cuda": Shape(12, 480, 864)}


@cache
def model_on(device: str) -> TarViS:
    torch.manual_seed(0)
    return TarViS(TarViSConfig()).eval().to(device)


def part_of(model: TarViS | Mask2FormerVIS, name: str, frames: Tensor) -> Callable[[], object]:
    if name == "backbone":
        return lambda: model.extract(frames)
    if name == "neck":
        pyramid = model.extract(frames)
        return lambda: model.neck(pyramid)
    return lambda: model(frames, TASK).mask_logits


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("device", DEVICES)
def bench_clip(device: str, part: str, dtype: str, bench: Callable, benchmark: Any) -> None:
    benchmark.group = f"{device}-{part}"
    shape = SHAPES[device]
    frames = torch.randint(0, 256, (1, shape.frames, 3, shape.height, shape.width))
    frames = frames.to(device, torch.uint8)
    model = model_on(device)
    autocast = torch.autocast(device, DTYPES[dtype], enabled=dtype != "fp32")
    with torch.inference_mode(), autocast:
        bench(part_of(model, part, frames))
