"""What a figure depends on besides the code: the machine, and the versions on it."""

from __future__ import annotations

import datetime
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import torch


def describe_machine(note: str | None = None, clock: str = "wall") -> dict[str, Any]:
    """Describe this machine, for the file that figures are stored in.

    Args:
        note: whatever else a reader should know, such as who shares the machine.
        clock: what its CPU was timed by.

    Returns:
        What JSON can hold; None where there is nothing to say.

    Example:
        >>> describe_machine("idle")["note"]
        'idle'
    """
    from segblocks import __version__

    return {
        "date": datetime.date.today().isoformat(),
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        # Of the last minute: processes that wanted a core.
        "load": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "cuda": torch.version.cuda,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "triton": _version("triton"),
        "segblocks": __version__,
        "commit": _commit(),
        "system": platform.platform(),
        "clock": clock,
        "note": note,
    }


def _cpu_model() -> str:
    """The name on the box, which Linux tells in a file of its own."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _commit() -> str | None:
    """The commit that this code is, with "-dirty" behind it after changes; None once installed."""
    root = Path(__file__).parents[2]
    # A package that is installed below another project's checkout is none of its commits.
    if not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), "describe", "--always", "--abbrev=12", "--exclude=*"]
    try:
        told = subprocess.run(
            [*command, "--dirty"], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return told.stdout.strip()


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
