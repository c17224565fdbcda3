"""Golden activations of the official networks, for tests marked ``parity``.

The folder is named by the environment variable SEGBLOCKS_PARITY and holds ``fill.py`` (weights and
inputs by rule) and one JSON a network. Without it these tests are skipped.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

NOT_FILLED = ("pixel_mean", "pixel_std", "bg_grid_size", "relative_position_index")


def parity_folder() -> Path:
    """The folder of goldens; skips the calling test where there is none."""
    folder = os.environ.get("SEGBLOCKS_PARITY")
    if not folder:
        pytest.skip("SEGBLOCKS_PARITY does not name the folder of golden activations")
    return Path(folder)


@functools.cache
def fill_module() -> ModuleType:
    """The rules that make weights, clips and masks."""
    spec = importlib.util.spec_from_file_location("parity_fill", parity_folder() / "fill.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@functools.cache
def read(name: str) -> Any:
    """One JSON file of the folder, without its suffix."""
    return json.loads((parity_folder() / f"{name}.json").read_text())


def golden(name: str) -> dict[str, Any]:
    """The goldens of a network, e.g. ``tarvis_resnet50``: keys notes, meta, cases."""
    return read(name)


def case(name: str, identifier: str) -> dict[str, Any]:
    """One case of a golden file by its id."""
    found = [case for case in golden(name)["cases"] if case["id"] == identifier]
    assert len(found) == 1, [case["id"] for case in golden(name)["cases"]]
    return found[0]


def fill_state_dict(
    entries: Iterable[Sequence[Any]],
    prefix: str = "",
    scales: Sequence[tuple[str, float]] = (),
    constants: Mapping[str, Tensor] | None = None,
) -> dict[str, Tensor]:
    """The official state dict that the goldens were made with.

    Args:
        entries: (official name, shape, dtype) as in ``<network>_state_dict.json``.
        prefix: ``case["weights"]["prefix"]``.
        scales: ``case["weights"]["scales"]``: (suffix, factor), the first that fits counts.
        constants: values of the entries that no rule fills; without one they are left out.
    """
    fill = fill_module()
    state: dict[str, Tensor] = {}
    for name, shape, dtype in entries:
        if constants is not None and name in constants:
            state[name] = constants[name]
            continue
        if dtype != "float32" or name.endswith(NOT_FILLED):
            continue
        value = fill.fill_parameter(prefix + name, tuple(shape))
        factor = next((factor for suffix, factor in scales if name.endswith(suffix)), 1)
        state[name] = torch.from_numpy(value * np.float32(factor))
    return state


def case_state_dict(
    network: str, case: Mapping[str, Any], constants: Mapping[str, Tensor] | None = None
) -> dict[str, Tensor]:
    """The official state dict of one case of ``network``."""
    weights = case["weights"]
    entries = read(f"{network}_state_dict")
    return fill_state_dict(entries, weights["prefix"], weights["scales"], constants)


def clip(case: Mapping[str, Any]) -> Tensor:
    """The input of a case as decoded: (T, H, W, 3) uint8 RGB, not padded."""
    about = case["clip"]
    frames = fill_module().clip(about["seed"], about["frames"], about["height"], about["width"])
    return torch.from_numpy(frames)


def normalised_clip(network: str, case: Mapping[str, Any]) -> Tensor:
    """What the backbone gets in a case: (1, T, 3, H, W), padded with 128, normalised."""
    about, meta = case["clip"], golden(network)["meta"]
    frames = clip(case).permute(0, 3, 1, 2).float()
    pad = (0, about["padded_width"] - about["width"], 0, about["padded_height"] - about["height"])
    frames = torch.nn.functional.pad(frames, pad, value=128.0)
    mean = torch.tensor(meta["pixel_mean"]).view(3, 1, 1)
    std = torch.tensor(meta["pixel_std"]).view(3, 1, 1)
    return ((frames - mean) / std)[None]


def compare(stage: str, array: Tensor | np.ndarray, golden: Mapping[str, Any]) -> float:
    """Relative L2 error of the sampled values of one stage; a ValueError when the shapes differ."""
    if isinstance(array, Tensor):
        array = array.detach().cpu().numpy()
    return fill_module().compare(stage, array, golden)


def tolerance(golden: Mapping[str, Any], factor: float = 5.0, floor: float = 1e-5) -> float:
    """The error that rounding explains: ``factor`` times the stage's stated noise, or ``floor``."""
    return max(factor * max(golden["noise"], golden["noise_alt"]), floor)
