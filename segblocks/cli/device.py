"""Which device a command runs on."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def choose_device(name: str | None, local_rank: int = 0) -> torch.device:
    """Return the device of this name, or a GPU, or the CPU.

    Args:
        name: such as ``cpu`` or ``cuda:1``; None chooses.
        local_rank: number of this process among those that share the machine; it is the number of
            the GPU where ``name`` is None or ``cuda``.

    Raises:
        ValueError: no such device here.
    """
    import torch

    from segblocks.inference.checks import find_device

    if name is None and not torch.cuda.is_available():
        return torch.device("cpu")
    if local_rank and name in (None, "cuda"):
        return find_device(f"cuda:{local_rank}", "--device")
    if name is None:
        return torch.device("cuda")
    return find_device(name, "--device")
