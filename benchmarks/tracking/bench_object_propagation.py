"""Carrying masks by looks, over a clip of twenty frames of ``tarvis_nano``, beside the model."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.conftest import DEVICES
from segblocks import VOS, create_model
from segblocks.tracking import ObjectPropagation

NUM_FRAMES, SIZE = 20, (256, 448)


@lru_cache(maxsize=1)
def clip(device: str, num_objects: int) -> tuple[Any, torch.Tensor, VOS]:
    frames = torch.rand(1, NUM_FRAMES, 3, *SIZE, generator=torch.Generator().manual_seed(0))
    masks = np.zeros((num_objects, *SIZE), bool)
    for n in range(num_objects):
        masks[n, 20 * n : 20 * n + 60, 30 * n : 30 * n + 80] = True
    return create_model("tarvis_nano").eval().to(device), 255 * frames.to(device), VOS(masks)


def carried(device: str, num_objects: int) -> Callable[[], object]:
    model, frames, task = clip(device, num_objects)
    output = model(frames, task)
    logits = {
        i: output.select_mask_logits(part)[0].amax(dim=0)
        for i, part in zip(output.object_ids, output.object_slices, strict=True)
    }
    given = {0: dict(zip(task.object_ids, task.hints[0].values, strict=True))}
    return lambda: ObjectPropagation(0.75).blend(output, logits, {0: task.object_ids}, given)


def whole_model(device: str, num_objects: int) -> Callable[[], object]:
    model, frames, task = clip(device, num_objects)
    return lambda: model(frames, task)


@pytest.mark.parametrize("num_objects", [1, 8])
@pytest.mark.parametrize("part", [carried, whole_model], ids=lambda part: part.__name__)
@pytest.mark.parametrize("device", DEVICES)
def bench_object_propagation(benchmark: Any, device: str, part: Any, num_objects: int) -> None:
    with torch.inference_mode():
        run = part(device, num_objects)
        benchmark.extra_info["frames"] = NUM_FRAMES

        def timed() -> None:
            run()
            if device == "cuda":
                torch.cuda.synchronize()

        benchmark.pedantic(timed, rounds=3, warmup_rounds=1)
