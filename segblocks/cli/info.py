"""``segblocks info``: versions, devices, backends and extras, for oneself and for bug reports."""

from __future__ import annotations

import argparse
import os
import platform
from importlib import metadata, util
from typing import Any

_PACKAGES = ("torch", "triton", "timm", "numpy", "scipy", "einops", "safetensors", "pillow")
_VARIABLES = ("SEGBLOCKS_BACKEND", "TRITON_INTERPRET", "OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES")


def add_parser(commands: Any, shared: argparse.ArgumentParser) -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "info", parents=[shared], help="show versions, devices, backends and extras"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Print one aligned table a subject."""
    devices, types = _devices()
    _print("segblocks", _versions())
    _print("devices", devices)
    _print("environment", [(name, os.environ.get(name, "not set")) for name in _VARIABLES])
    _print("models that come with trained weights", _weights())
    problem = _print_backends(types)
    _print("extras", _extras())
    if problem is not None:
        raise ValueError(problem)


def _print(title: str, rows: list[tuple[str, str]]) -> None:
    width = max((len(name) for name, _ in rows), default=0)
    print(f"{title}:")
    for name, value in rows:
        print(f"  {name:{width}}  {value}")


def _versions() -> list[tuple[str, str]]:
    from segblocks import __version__

    rows = [("segblocks", __version__), ("python", platform.python_version())]
    rows += [(name, _version(name) or "not installed") for name in _PACKAGES]
    return [*rows, ("system", platform.platform())]


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _devices() -> tuple[list[tuple[str, str]], list[str]]:
    import torch

    rows = [("cpu", f"{platform.machine()}, {torch.get_num_threads()} threads")]
    for index in range(torch.cuda.device_count()):
        gpu = torch.cuda.get_device_properties(index)
        memory = f"{gpu.total_memory / 2**30:.0f} GiB"
        capability = f"compute capability {gpu.major}.{gpu.minor}"
        rows.append((f"cuda:{index}", f"{gpu.name}, {memory}, {capability}"))
    if len(rows) > 1:
        return rows, ["cpu", "cuda"]
    built = torch.version.cuda
    reason = f"no GPU found (torch is built for CUDA {built})" if built else "torch is a CPU build"
    return [*rows, ("cuda", reason)], ["cpu"]


def _weights() -> list[tuple[str, str]]:
    from segblocks import zoo
    from segblocks.zoo.hub import WEIGHTS_FILE
    from segblocks.zoo.registry import get_entry

    rows = []
    for name in zoo.list_models():
        folder = get_entry(name).default_checkpoint
        if folder is not None:
            path = folder / WEIGHTS_FILE
            there = f"{path.stat().st_size / 2**20:.1f} MiB" if path.is_file() else "MISSING"
            rows.append((name, f"{there}, {folder}"))
    return rows or [("none", "a name needs a checkpoint")]


def _print_backends(device_types: list[str]) -> str | None:
    """Print what every operation runs; returns what is wrong with the environment, if anything."""
    try:
        for device_type in device_types:
            _print(f"what runs on {device_type} where a call names none", _backends(device_type))
    except ValueError as error:
        return str(error)
    return None


def _backends(device_type: str) -> list[tuple[str, str]]:
    from segblocks.ops import backend_report

    report = backend_report(device_type)
    return [(op, f"{backend}: {reason}") for op, (backend, reason) in report.items()]


def _extras() -> list[tuple[str, str]]:
    from segblocks._optional import EXTRAS, pip_command

    rows = []
    for extra, modules in EXTRAS.items():
        missing = [module for module in modules if util.find_spec(module) is None]
        present = ", ".join(f"{module} {_version(module) or ''}".strip() for module in modules)
        rows.append((extra, f"missing: {pip_command(extra)}" if missing else present))
    return rows
