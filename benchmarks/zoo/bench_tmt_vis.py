"""TMT-VIS-R50 on the clip of ``bench_tarvis``, with one vocabulary and with all three.

Mask2Former-VIS with a compiler and nine injections; names are encoded before the clock runs, and
by hashes, since the time does not depend on what vectors say.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch

from benchmarks.conftest import DEVICES
from benchmarks.zoo.bench_tarvis import DTYPES, SHAPES
from segblocks.tasks import UNION, VIS
from segblocks.zoo.tmt_vis import TMTVIS, TMTVISConfig


@cache
def model_on(device: str) -> TMTVIS:
    torch.manual_seed(0)
    model = TMTVIS(TMTVISConfig(text_encoder="hash/1024")).eval().to(device)
    model.embed_classes()
    return model


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("vocabulary", ["youtube_vis_2019", UNION])
@pytest.mark.parametrize("device", DEVICES)
def bench_tmt_vis(
    device: str, vocabulary: str, dtype: str, bench: Callable, benchmark: Any
) -> None:
    benchmark.group = f"{device}-whole"
    shape, model, task = SHAPES[device], model_on(device), VIS(vocabulary)
    frames = torch.randint(0, 256, (1, shape.frames, 3, shape.height, shape.width))
    frames = frames.to(device, torch.uint8)
    autocast = torch.autocast(device, DTYPES[dtype], enabled=dtype != "fp32")
    with torch.inference_mode(), autocast:
        bench(lambda: model(frames, task).mask_logits)
