"""All systems on a stream: frames a second, from pixels to results.

On a GPU the published sizes, with random weights, on 640 x 1152 pixels; on a CPU the small models
as they ship. Two objects are followed from their masks, or all classes are looked for.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import pytest

import segblocks
from benchmarks.conftest import DEVICES
from segblocks import VIS, VOS, create_model
from segblocks.tasks import Task

NUM_FRAMES = 20
# The same for all: some would take the whole video at once.
CLIPS = {"clip_length": 5, "overlap": 2, "short_side": 0}
SIZES = {"cpu": (256, 416), "cuda": (640, 1152)}
ENDINGS = {"cpu": "nano", "cuda": "resnet50"}
VOCABULARIES = {"nano": "synthetic", "resnet50": "youtube_vis_2021"}
CASES = [
    *((system, "vis") for system in ("tarvis", "gvseg", "univs", "mask2former_vis", "tmt_vis")),
    *((system, "vos") for system in ("tarvis", "gvseg", "univs")),
]
# What a published model takes, where its default is another dataset's, or needs a download.
CONFIGS: dict[str, dict[str, Any]] = {
    "gvseg_resnet50": {"vocabulary": "youtube_vis_2021"},
    "univs_resnet50": {"text_encoder": "hash/640", "text_templates": "name"},
    "tmt_vis_resnet50": {"vocabularies": ("youtube_vis_2021",), "text_encoder": "hash/1024"},
}


@lru_cache(maxsize=1)  # what another model holds is not to count
def model_on(device: str, system: str) -> Any:
    name = f"{system}_{ENDINGS[device]}"
    weights = None if device == "cpu" else "random"
    return create_model(name, checkpoint=weights, **CONFIGS.get(name, {})).eval().to(device)


def task_of(kind: str, device: str, size: tuple[int, int]) -> Task:
    if kind == "vis":
        return VIS(VOCABULARIES[ENDINGS[device]])
    masks = np.zeros((2, *size), bool)
    masks[0, 40:120, 40:120] = True
    masks[1, 100:200, 160:300] = True
    return VOS(masks)


@pytest.mark.parametrize(("system", "kind"), CASES)
@pytest.mark.parametrize("device", DEVICES)
def bench_stream(device: str, system: str, kind: str, bench: Callable, benchmark: Any) -> None:
    benchmark.group = f"{device}-stream-{kind}"
    size = SIZES[device]
    video = np.random.default_rng(0).integers(0, 256, (NUM_FRAMES, *size, 3), np.uint8)
    model, task = model_on(device, system), task_of(kind, device, size)
    bench(lambda: deque(segblocks.stream(model, iter(video), task, **CLIPS), maxlen=0))
    benchmark.extra_info["frames_per_second"] = NUM_FRAMES / benchmark.stats.stats.median
