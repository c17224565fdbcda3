"""The models for ``torch.hub.load("owner/segblocks", "tarvis_nano")``, from a checkout as it is."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

dependencies = ["torch", "torchvision", "numpy", "scipy", "einops", "timm", "safetensors"]
dependencies += ["huggingface_hub", "PIL", "tqdm"]

if find_spec("segblocks_kernels") is None:
    # A checkout has them in a folder of their own, which only an installation makes importable.
    sys.path.append(str(Path(__file__).resolve().parent / "kernels"))


def _entry_point(name: str, description: str) -> Callable[..., Any]:
    def build(**options: Any) -> Any:
        from segblocks.zoo import create_model

        return create_model(name, **options)

    build.__name__ = name
    build.__doc__ = f"Build {description}; options as for segblocks.create_model."
    return build


def _entry_points() -> dict[str, Callable[..., Any]]:
    from segblocks.zoo import list_models
    from segblocks.zoo.registry import get_entry

    return {name: _entry_point(name, get_entry(name).description) for name in list_models()}


globals().update(_entry_points())
