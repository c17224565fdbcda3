"""The peak of memory."""

from __future__ import annotations

import sys

import pytest
import torch

from segblocks.training.memory import peak_memory, reset_peak_memory

CPU = torch.device("cpu")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not tell")
def test_the_peak_of_a_process_stays() -> None:
    before = peak_memory(CPU)
    assert before is not None
    # Above whatever the process has had so far.
    block = torch.ones(before // 4 + (1 << 24))
    with_block = peak_memory(CPU)
    assert with_block is not None
    assert with_block >= block.nbytes > before
    del block
    reset_peak_memory(CPU)
    assert peak_memory(CPU) == with_block


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_the_peak_of_a_gpu_begins_anew() -> None:
    device = torch.device("cuda")
    block = torch.ones(1 << 20, device=device)
    assert (peak_memory(device) or 0) >= block.nbytes
    del block
    left = torch.cuda.memory_allocated(device)
    reset_peak_memory(device)
    assert peak_memory(device) == left
