"""Which implementation an operation runs, and why."""

from __future__ import annotations

import os
from collections.abc import Sequence

import torch

ENVIRONMENT_VARIABLE = "SEGBLOCKS_BACKEND"


def triton_missing() -> str | None:
    """Why Triton cannot be imported, or None when it can."""
    try:
        import triton  # noqa: F401
    except ImportError as error:
        return f"Triton is not installed ({error})"
    return None


def interpreter_on() -> bool:
    """Whether Triton kernels are interpreted, which lets them run on CPU tensors."""
    return os.environ.get("TRITON_INTERPRET", "0") == "1"


def triton_unavailable(device: torch.device) -> str | None:
    """Why Triton kernels cannot run on ``device``, or None when they can."""
    missing = triton_missing()
    if missing is not None:
        return missing
    if device.type == "cuda":
        return None
    if device.type == "cpu":
        return None if interpreter_on() else "a CPU tensor needs TRITON_INTERPRET=1"
    return f"there is no Triton path for device {device.type!r}"


def requested_backend(op: str, backend: str, choices: Sequence[str]) -> str:
    """``backend``, or the environment's wish where the argument leaves the choice open.

    Raises:
        ValueError: the name is not among ``choices``.
    """
    source = "backend"
    if backend == "auto":
        backend = os.environ.get(ENVIRONMENT_VARIABLE, "auto")
        source = ENVIRONMENT_VARIABLE
    if backend not in choices:
        raise ValueError(f"{op}: {source} must be one of {', '.join(choices)}, got {backend!r}")
    return backend
