"""The GPU that Triton launches on, which is the current one, wherever the tensors are."""

from __future__ import annotations

import contextlib

import torch


def on_device(device: torch.device) -> contextlib.AbstractContextManager[object]:
    """Make a GPU the current one; of other devices there is no current one."""
    return torch.cuda.device(device) if device.type == "cuda" else contextlib.nullcontext()
