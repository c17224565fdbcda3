"""Each system at a size at which making, running and freeing it costs next to nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from segblocks.tasks import EVS, PET, PVOS, VIS, VOS, VPS, VSS, RefVOS, Task
from segblocks.text import get_vocabulary
from segblocks.zoo import (
    TMTVIS,
    GvSeg,
    GvSegConfig,
    Mask2FormerVIS,
    Mask2FormerVISConfig,
    TarViS,
    TarViSConfig,
    TMTVISConfig,
    UniVS,
    UniVSConfig,
)

SIZE = (32, 64)
_WORLD = get_vocabulary("synthetic")
_SMALL: dict[str, Any] = {
    "backbone": "test_efficientnet",
    "embed_dim": 32,
    "num_heads": 2,
    "neck_layers": 1,
    "neck_hidden_dim": 16,
    "decoder_layers": 3,
    "decoder_hidden_dim": 16,
    "short_side": 32,
}
_TEXT: dict[str, Any] = {"text_encoder": "hash/16", "text_dim": 16}
_ALIKE: dict[str, Any] = {"num_queries": 6, **_SMALL}

_SYSTEMS: dict[str, Callable[[], nn.Module]] = {
    "tarvis": lambda: TarViS(
        TarViSConfig(
            vocabularies=("synthetic",),
            num_instance_queries=6,
            encoder_layers=1,
            encoder_hidden_dim=16,
            **_SMALL,
        )
    ),
    "gvseg": lambda: GvSeg(
        GvSegConfig(
            vocabulary=_WORLD.classes,
            things=tuple(_WORLD.thing_ids),
            query_hidden_dim=16,
            **_ALIKE,
        )
    ),
    "univs": lambda: UniVS(UniVSConfig(text_templates="name", **_TEXT, **_ALIKE)),
    "tmt_vis": lambda: TMTVIS(
        TMTVISConfig(
            vocabularies=(("world", _WORLD.classes, tuple(_WORLD.thing_ids)),),
            bottleneck_dim=8,
            num_selected=3,
            **_TEXT,
            **_ALIKE,
        )
    ),
    "mask2former_vis": lambda: Mask2FormerVIS(
        Mask2FormerVISConfig(vocabulary=_WORLD.classes, **_ALIKE)
    ),
}
SYSTEMS = tuple(_SYSTEMS)


def make_system(name: str, seed: int = 0) -> Any:
    """A model with the random weights of a seed, in training mode."""
    torch.manual_seed(seed)
    return _SYSTEMS[name]()


def tasks_of(model: Any) -> list[Task]:
    """One of each task that the model does, for videos of `SIZE`."""
    mask = np.zeros((1, *SIZE), np.bool_)
    mask[0, 8:24, 10:40] = True
    tasks: list[Task] = [
        *(VIS("synthetic"), VPS("synthetic"), VSS("synthetic")),
        *(VOS(mask), PVOS(mask), PET([(20, 16)]), EVS(boxes=[(10, 8, 40, 24)])),
        RefVOS("the red star"),
    ]
    return [task for task in tasks if task.name in model.tasks]


def noise_video(seed: int, num_frames: int = 4) -> NDArray[np.uint8]:
    """(T, H, W, 3) of `SIZE`."""
    return np.random.default_rng(seed).integers(0, 256, (num_frames, *SIZE, 3), dtype=np.uint8)
