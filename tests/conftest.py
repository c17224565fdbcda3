"""Triton is interpreted where there is no GPU, which has to be said before its import."""

from __future__ import annotations

import os
from importlib import metadata
from typing import Any

import torch


def _version(package: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in metadata.version(package).split(".")[:2])
    except metadata.PackageNotFoundError:
        return ()


def _let_the_interpreter_count() -> None:
    """Make integers of what old interpreters hold as arrays, which NumPy has ceased to do."""
    from triton.runtime import interpreter

    patch = interpreter._patch_lang_tensor

    def patch_and_mend(tensor: Any, scope: Any) -> None:
        patch(tensor, scope)
        scope.set_attr(tensor, "__index__", lambda self: int(self.handle.data.item()))

    interpreter._patch_lang_tensor = patch_and_mend


if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")
    if () < _version("triton") < (3, 9) and _version("numpy") >= (2, 4):
        _let_the_interpreter_count()
