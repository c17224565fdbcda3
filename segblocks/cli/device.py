"""Which device a command runs on."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def choose_device(name: str | None) -> torch.device:
    """Return the device of this name, or the first GPU, or the CPU.

    Args:
        name: such as ``cpu`` or ``cuda:1``; None chooses.

    Raises:
        ValueError: no such device here.
    """
    import torch

    from segblocks.inference.checks import find_device

    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return find_device(name, "--device")
