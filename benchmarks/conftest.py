"""What every benchmark shares: the machine's description and one way of timing."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest
import torch


def pytest_benchmark_update_machine_info(config: pytest.Config, machine_info: dict) -> None:
    """Store what a figure depends on beside it."""
    cuda = torch.cuda.is_available()
    machine_info["torch"] = {
        "version": torch.__version__,
        "threads": torch.get_num_threads(),
        "cuda": torch.version.cuda,
        "gpu": torch.cuda.get_device_name() if cuda else None,
        "load_before": os.getloadavg() if hasattr(os, "getloadavg") else None,
    }


# Skipped as a mark, so that no fixture of a skipped benchmark is made.
GPU = (
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
)
DEVICES = ["cpu", pytest.param("cuda", marks=GPU)]


@pytest.fixture(params=DEVICES)
def device(request: pytest.FixtureRequest) -> str:
    """Each device that is there."""
    return request.param


@pytest.fixture
def bench(benchmark: Any, device: str) -> Callable[[Callable[[], object]], None]:
    """Time a function: warmed up, synchronised inside the timed call, peak memory noted."""

    def timed(function: Callable[[], object]) -> None:
        on_gpu = device == "cuda"

        def call() -> None:
            function()
            if on_gpu:
                torch.cuda.synchronize()

        if on_gpu:
            torch.cuda.reset_peak_memory_stats()
        benchmark.pedantic(call, rounds=20 if on_gpu else 5, warmup_rounds=3 if on_gpu else 1)
        if on_gpu:
            benchmark.extra_info["peak_mib"] = torch.cuda.max_memory_allocated() / 2**20

    return timed
