"""The public names and how they are called, one a line.

``python -m tests.public_api`` writes them to ``public_api.txt`` beside this file.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any, ForwardRef

import segblocks

FROZEN = Path(__file__).with_name("public_api.txt")
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")
_OURS = ("segblocks", "segblocks_kernels")
_SPECIAL = ("__call__", "__getitem__", "__iter__", "__len__")


def public_modules() -> list[ModuleType]:
    """segblocks, what lies directly in it, and its kernels, as far as they say what is public."""
    inside = (f"segblocks.{found.name}" for found in pkgutil.iter_modules(segblocks.__path__))
    names = (*_OURS, *(name for name in inside if not name.startswith("segblocks._")))
    modules = map(importlib.import_module, names)
    return [module for module in modules if hasattr(module, "__all__")]


def describe() -> str:
    """All public names with their parameters, in order."""
    lines = {line for module in public_modules() for line in _describe_module(module)}
    return "".join(f"{line}\n" for line in sorted(lines))


def _describe_module(module: ModuleType) -> Iterator[str]:
    for name in module.__all__:
        value = getattr(module, name)
        place = f"{module.__name__}.{name}"
        if inspect.isclass(value):
            yield f"class {place}{_parameters(value)}"
            yield from (f"{place}.{member}" for member in _members(value))
        elif isinstance(value, ModuleType):
            yield f"module {place}"
        elif callable(value) and hasattr(value, "__name__"):
            yield f"{place}{_parameters(value)}"
        else:
            yield f"value {place}"


def _members(kind: type) -> Iterator[str]:
    """The methods and properties that are ours, also inherited ones, each once."""
    seen: set[str] = set()
    for base in kind.__mro__:
        if base.__module__.partition(".")[0] not in _OURS:
            continue
        for name, value in vars(base).items():
            if name in seen or (name.startswith("_") and name not in _SPECIAL):
                continue
            seen.add(name)
            if isinstance(value, staticmethod | classmethod):
                value = value.__func__
            if isinstance(value, FunctionType):
                yield f"{name}{_parameters(value)}"
            elif isinstance(value, property):
                yield name


def _parameters(value: Callable[..., Any]) -> str:
    try:
        signature = inspect.signature(value)
    except ValueError:  # built in C, as exceptions are
        return "(...)"
    shown = [
        parameter.replace(
            annotation=_as_written(parameter.annotation), default=_shown(parameter.default)
        )
        for parameter in signature.parameters.values()
    ]
    returned = _as_written(signature.return_annotation)
    return str(signature.replace(parameters=shown, return_annotation=returned))


class _Plain(str):
    """Text that a signature shows without quotes."""

    def __repr__(self) -> str:
        return str(self)


def _as_written(annotation: Any) -> Any:
    if isinstance(annotation, ForwardRef):
        annotation = annotation.__forward_arg__
    return _Plain(annotation) if isinstance(annotation, str) else annotation


def _shown(default: Any) -> Any:
    """A default whose text is the same in every process."""
    text = repr(default)
    return _Plain(_ADDRESS.sub("", text)) if _ADDRESS.search(text) else default


if __name__ == "__main__":
    FROZEN.write_text(describe())
