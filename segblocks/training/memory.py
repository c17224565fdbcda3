"""How much memory training took."""

from __future__ import annotations

import sys

import torch

# Linux counts in KiB, macOS in bytes.
_UNIT = 1 if sys.platform == "darwin" else 1024


def peak_memory(device: torch.device) -> int | None:
    """Return the most memory that was in use, in bytes.

    Args:
        device: of a GPU, what tensors had since `reset_peak_memory`; of the CPU, what the process
            had since its beginning.

    Returns:
        None on the CPU under Windows, which does not tell.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if sys.platform == "win32":
        return None
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _UNIT


def reset_peak_memory(device: torch.device) -> None:
    """Begin to look for the peak anew, where that can be done."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
