"""The processes and devices that train, through accelerate."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from segblocks._optional import require
from segblocks.inference.checks import find_device
from segblocks.training.settings import Precision

if TYPE_CHECKING:
    from accelerate import Accelerator

# What `accelerate config` may ask for and this loop, which keeps whole weights, cannot do.
_UNKNOWN = ("FSDP", "DEEPSPEED", "MEGATRON_LM", "XLA")


@contextmanager
def open_processes(
    precision: Precision, device: str | torch.device | None = None
) -> Iterator[Accelerator]:
    """Join the processes that were launched; they stay joined, for another training or evaluation.

    Args:
        precision: of the network.
        device: "cpu", "cuda", or one of several such as "cuda:1" where one process trains; None
            takes the GPUs, each process its own, or the CPU where there is none.

    Raises:
        ImportError: accelerate is not installed.
        ValueError: a precision or device that this machine has not, or a launcher's setting that
            shards the weights.
    """
    accelerate = require("accelerate", "train")
    device = None if device is None else _check_device(device)
    _check_precision(precision, device)
    ours = not accelerate.state.AcceleratorState._shared_state
    accelerator = accelerate.Accelerator(
        mixed_precision="no" if precision == "fp32" else precision,
        # Or accelerate would take a device of another kind, such as MPS, which has no float64.
        cpu=not torch.cuda.is_available() or (device is not None and device.type == "cpu"),
        # A plugin, as the launcher's environment would override a number.
        gradient_accumulation_plugin=accelerate.utils.GradientAccumulationPlugin(num_steps=1),
        # A clip of one task leaves the queries of the others without gradient.
        kwargs_handlers=[accelerate.DistributedDataParallelKwargs(find_unused_parameters=True)],
    )
    try:
        if accelerator.distributed_type.value in _UNKNOWN:
            raise ValueError(
                f"train: {accelerator.distributed_type.value} is not supported; launch with "
                "--multi_gpu, or with torchrun"
            )
        with _single_device(accelerator, device):
            yield accelerator
    finally:
        if ours:
            # Another training in this process may be of another precision or device.
            accelerate.state.AcceleratorState._reset_state(reset_partial_state=True)


def _check_device(device: str | torch.device) -> torch.device:
    kind, _, number = str(device).partition(":")
    if kind not in ("cpu", "cuda"):
        raise ValueError(f"train: device must be cpu or cuda, got {device}")
    if kind == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"train: device is {device}, but PyTorch finds no GPU")
    if number not in ("", "0") and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ValueError(f"train: of several processes each has its own device, not {device}")
    return find_device(device, "train: device")


def _check_precision(precision: Precision, device: torch.device | None) -> None:
    is_cpu = device is not None and device.type == "cpu"
    if precision == "fp16" and (is_cpu or not torch.cuda.is_available()):
        raise ValueError("train: precision fp16 needs a GPU; use bf16 or fp32")


@contextmanager
def _single_device(accelerator: Accelerator, device: torch.device | None) -> Iterator[None]:
    """Let the one process train on the GPU that was named."""
    if device is None or device.type != "cuda" or not device.index:
        yield
        return
    accelerator.state.device = device  # type: ignore[attr-defined]
    with torch.cuda.device(device):
        yield
