"""What a run was begun with, beside its checkpoints, and whether it can be taken up so."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import segblocks
from segblocks._files import write_atomically
from segblocks.training.recipe import Recipe

RUN_FILE = "run.json"


def write_run_record(
    recipe: Recipe, roots: Mapping[str, Path], weights: list[str], out: Path
) -> None:
    """Write what a run is made of.

    Args:
        recipe: that is trained by.
        roots: name of a dataset of the recipe -> its folder.
        weights: what training starts from, a line each.
        out: folder of the run, which exists.
    """
    record = {
        "recipe": recipe.name,
        **_identity(recipe, roots),
        "weights": weights,
        "data": {name: str(root.resolve()) for name, root in roots.items()},
        "sources": {name: s.weight for name, s in recipe.used_sources(roots).items()},
        "segblocks_version": segblocks.__version__,
    }

    def write(path: str) -> None:
        Path(path).write_text(json.dumps(record, indent=2) + "\n")

    write_atomically(out / RUN_FILE, write)


def check_same_run(recipe: Recipe, roots: Mapping[str, Path], out: Path) -> None:
    """Check that a folder holds a run of the same model, losses, clips and first weights.

    What the loop itself compares, such as its settings and the weights of the datasets, is left to
    it. Datasets may have moved.

    Args:
        recipe: that shall be trained by.
        roots: name of a dataset of the recipe -> its folder.
        out: folder of the run.

    Raises:
        ValueError: names what differs.
    """
    path = out / RUN_FILE
    if not path.is_file():
        return
    before = json.loads(path.read_text())
    # What was written is what JSON makes of it; earlier versions wrote less.
    now = json.loads(json.dumps(_identity(recipe, roots)))
    other = [
        line
        for name, value in now.items()
        if name in before
        for line in _differences(name, before[name], value)
    ]
    if other:
        raise ValueError(
            f"{out} holds a run of another kind: {'; '.join(other)}; choose another folder, or "
            "begin anew"
        )


def _identity(recipe: Recipe, roots: Mapping[str, Path]) -> dict[str, Any]:
    """What makes a run another one, besides what the loop itself compares."""
    clips = {
        name: {"videos": source.videos, "rule": source.rule, "transform": source.transform}
        for name, source in recipe.used_sources(roots).items()
    }
    parts = {
        "model": recipe.model,
        "options": recipe.model_overrides,
        "criterion": recipe.criterion_options,
        "step": recipe.step_options,
        "initial": recipe.initial,
        "clips": clips,
    }
    return {name: _plain(part) for name, part in parts.items()}


def _plain(value: Any) -> Any:
    """Describe a value such that it is the same in every process."""
    if isinstance(value, Mapping):
        return {str(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    elif hasattr(value, "__qualname__"):
        return f"{value.__module__}.{value.__qualname__}"
    else:
        fields = dict(getattr(value, "__dict__", {}))
    return {"type": type(value).__name__, **_plain(fields)}


def _differences(name: str, before: Any, now: Any) -> Iterator[str]:
    if isinstance(before, dict) and isinstance(now, dict):
        for key in dict.fromkeys((*before, *now)):
            yield from _differences(f"{name}.{key}", before.get(key), now.get(key))
    elif before != now:
        yield f"{name} was {before} and is {now}"
