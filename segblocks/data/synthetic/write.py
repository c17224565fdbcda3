"""Write videos of a synthetic world in the layout of an official dataset."""

from __future__ import annotations

import difflib
import inspect
import os
import pkgutil
from importlib import import_module
from typing import Any

import segblocks.data
from segblocks.data.synthetic.world import SyntheticWorld


def write_world(
    world: SyntheticWorld,
    layout: str,
    root: str | os.PathLike[str],
    split: str = "val",
    count: int | None = None,
    *,
    start: int = 0,
    **options: Any,
) -> None:
    """Write some videos of a world as the dataset of that layout lays them out.

    Args:
        world: where the videos come from.
        layout: a module of ``segblocks.data`` that has a writer, such as "davis" or "vipseg".
        root: the dataset's folder.
        split: name of the part.
        count: of videos; all of them where left out, which an endless world does not allow.
        start: index of the first.
        options: further arguments of the layout's ``write_<layout>``.

    Raises:
        ValueError: no such layout (close matches are listed), or a count that is missing for an
            endless world.

    Example:
        >>> write_world(SyntheticWorld(), "davies", "out", count=2)
        Traceback (most recent call last):
        ValueError: write_world: there is no layout 'davies'; did you mean 'davis'?...
    """
    if count is None:
        if world.length is None:
            raise ValueError("write_world: an endless world needs count")
        count = world.length - start
    layouts = list_layouts()
    if layout not in layouts:
        close = difflib.get_close_matches(layout, layouts, n=3, cutoff=0.5)
        hint = f"; did you mean {' or '.join(map(repr, close))}?" if close else ""
        raise ValueError(
            f"write_world: there is no layout {layout!r}{hint} (known are {', '.join(layouts)})"
        )
    write = getattr(import_module(f"segblocks.data.{layout}"), f"write_{layout}")
    write((world[i] for i in range(start, start + count)), root, split, **options)


def list_layouts() -> tuple[str, ...]:
    """Return the layouts that :func:`write_world` knows, sorted."""
    modules = sorted(module.name for module in pkgutil.iter_modules(segblocks.data.__path__))
    return tuple(name for name in modules if _writes_samples(name))


def _writes_samples(name: str) -> bool:
    write = getattr(import_module(f"segblocks.data.{name}"), f"write_{name}", None)
    return write is not None and next(iter(inspect.signature(write).parameters)) == "samples"
