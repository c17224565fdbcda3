"""Building blocks, kernels and reference models for unified video segmentation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from segblocks.inference import segment, stream
    from segblocks.results import Track, VideoSegmentation
    from segblocks.tasks import EVS, PET, PVOS, VIS, VOS, VPS, VSS, RefVOS
    from segblocks.zoo import create_model, from_pretrained, list_models

_HOMES = {
    "segment": "segblocks.inference",
    "stream": "segblocks.inference",
    "Track": "segblocks.results",
    "VideoSegmentation": "segblocks.results",
    "create_model": "segblocks.zoo",
    "from_pretrained": "segblocks.zoo",
    "list_models": "segblocks.zoo",
} | dict.fromkeys(("EVS", "PET", "PVOS", "VIS", "VOS", "VPS", "VSS", "RefVOS"), "segblocks.tasks")

__all__ = [
    "EVS",
    "PET",
    "PVOS",
    "VIS",
    "VOS",
    "VPS",
    "VSS",
    "RefVOS",
    "Track",
    "VideoSegmentation",
    "create_model",
    "from_pretrained",
    "list_models",
    "segment",
    "stream",
]


def __getattr__(name: str) -> Any:
    # Names are fetched on first use, so that importing one block does not import all of them.
    if name not in _HOMES:
        raise AttributeError(f"module 'segblocks' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted((*globals(), *_HOMES))
