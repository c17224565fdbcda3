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

    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        # Torch adds the C++ stack to its message.
        reason = str(error).splitlines()[0]
        raise ValueError(f"--device {name}: not to be had here ({reason})") from error
    return device
