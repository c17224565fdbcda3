"""Mask2Former-VIS-R50 on the clip of ``bench_tarvis``: the whole, and each part on its input.

TarViS adds temporal layers, and queries for classes and background; the rest is the same.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch

from benchmarks.conftest import DEVICES
from benchmarks.zoo.bench_tarvis import DTYPES, PARTS, SHAPES, part_of
from segblocks.zoo import Mask2FormerVIS


@cache
def model_on(device: str) -> Mask2FormerVIS:
    torch.manual_seed(0)
    return Mask2FormerVIS().eval().to(device)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("device", DEVICES)
def bench_mask2former_vis(
    device: str, part: str, dtype: str, bench: Callable, benchmark: Any
) -> None:
    benchmark.group = f"{device}-{part}"
    shape = SHAPES[device]
    frames = torch.randint(0, 256, (1, shape.frames, 3, shape.height, shape.width))
    frames = frames.to(device, torch.uint8)
    autocast = torch.autocast(device, DTYPES[dtype], enabled=dtype != "fp32")
    with torch.inference_mode(), autocast:
        bench(part_of(model_on(device), part, frames))
