"""Joining and leaving accelerate, and devices that are not there."""

from __future__ import annotations

import sys

import accelerate
import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState

from segblocks.training.processes import open_processes
from segblocks.training.settings import Precision


def test_one_precision_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    # What a launcher says about accumulation must not divide the loss once more.
    monkeypatch.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "4")
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "fp16")
    known_as: dict[Precision, str] = {"bf16": "bf16", "fp32": "no"}
    for precision, known in known_as.items():
        with open_processes(precision, "cpu") as accelerator:
            assert accelerator.mixed_precision == known
            assert accelerator.device.type == "cpu"
            assert accelerator.gradient_accumulation_steps == 1
    assert not AcceleratorState._shared_state


def test_an_accelerator_of_the_caller_stays() -> None:
    theirs = Accelerator(cpu=True)
    try:
        with open_processes("fp32", "cpu") as accelerator:
            assert accelerator.device == theirs.device
        assert theirs.num_processes == 1
        with pytest.raises(ValueError, match="already been initialized"), open_processes("bf16"):
            pass
    finally:
        AcceleratorState._reset_state(reset_partial_state=True)


def test_devices_that_are_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="device is cuda, but PyTorch finds no GPU"):
        open_processes("fp32", "cuda").__enter__()
    with pytest.raises(ValueError, match="fp16 needs a GPU"):
        open_processes("fp16").__enter__()
    with pytest.raises(ValueError, match="must be cpu or cuda, got mps"):
        open_processes("fp32", "mps").__enter__()
    with pytest.raises(ValueError, match="must be cpu or cuda, got gpu"):
        open_processes("fp32", "gpu").__enter__()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(ValueError, match="train: device cuda:99: not to be had here"):
        open_processes("fp32", "cuda:99").__enter__()
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="each has its own device, not cuda:1"):
        open_processes("fp32", "cuda:1").__enter__()


def test_without_a_gpu_it_is_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    # Not Apple's GPU, say, which accelerate would take.
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(accelerate.state, "is_mps_available", lambda *_: True)
    with open_processes("fp32") as accelerator:
        assert accelerator.device.type == "cpu"


def test_without_accelerate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "accelerate", None)
    with pytest.raises(ImportError, match=r"pip install 'segblocks\[train\]'"):
        open_processes("fp32").__enter__()
