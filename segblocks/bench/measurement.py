"""Time and memory of one call, warmed up, in samples that are long beside the clock's step."""

from __future__ import annotations

import ctypes
import gc
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

# A sample is as long as the clock and the launch of a kernel are short beside it.
SAMPLE_SECONDS = 1e-3
MIN_SAMPLES, MAX_SAMPLES = 5, 100
# Of all samples together; the least number of samples may take longer.
BUDGET_SECONDS = 2.0

# What a CPU is timed by. The second leaves out what other processes take of a busy machine; it adds
# up over threads, so it says how long a call takes where there is one.
CLOCKS = {"wall": "perf_counter", "process": "process_time"}

Call = Callable[[], object]
Clock = Callable[[Call, int], float]


@dataclass(frozen=True)
class Measurement:
    """What a call costs.

    Attributes:
        median: seconds a call.
        p20: the 20th percentile of the samples, in seconds a call.
        p80: the 80th.
        samples: how many were taken.
        calls: how many calls each of them held.
        peak_bytes: memory that one call had in use at its height beyond what was in use before:
            PyTorch's allocator on a GPU, the process on a CPU, None where nobody can tell.
    """

    median: float
    p20: float
    p80: float
    samples: int
    calls: int
    peak_bytes: int | None


def measure(
    call: Call,
    device: torch.device | str,
    *,
    budget: float = BUDGET_SECONDS,
    flush_l2: bool = False,
) -> Measurement:
    """Measure one call; see :func:`measure_together`.

    Args:
        call: what to measure.
        device: where it computes.
        budget: seconds of all samples together.
        flush_l2: empty the cache of a GPU before each call.

    Returns:
        The measurement.

    Raises:
        ValueError: a flush on a device that is no GPU.

    Example:
        >>> x = torch.randn(64, 64)
        >>> taken = measure(lambda: x @ x, "cpu", budget=0.01)
        >>> 0 < taken.p20 <= taken.median <= taken.p80
        True
    """
    return measure_together([call], device, budget=budget, flush_l2=flush_l2)[0]


def measure_together(
    calls: Sequence[Call],
    device: torch.device | str,
    *,
    budget: float = BUDGET_SECONDS,
    flush_l2: bool = False,
    clock: str = "wall",
) -> list[Measurement]:
    """Measure calls in turns, their Python included, so that a busy machine slows all alike.

    On a GPU the clock is a pair of CUDA events around each sample.

    Args:
        calls: what to measure. The first runs warm up and are not counted.
        device: where they compute.
        budget: seconds of all samples of one call together, as far as ``MIN_SAMPLES`` allow.
        flush_l2: empty the cache of a GPU before each call, which is then a sample of its own and
            hides its Python behind the flush.
        clock: on a CPU, "wall" or "process", the processor time of this process.

    Returns:
        A measurement a call.

    Raises:
        ValueError: a flush on a device that is no GPU, or processor time on another than a CPU.

    Example:
        >>> x = torch.randn(64, 64)
        >>> len(measure_together([lambda: x @ x, lambda: x + x], "cpu", budget=0.01))
        2
    """
    device = torch.device(device)
    if flush_l2 and device.type != "cuda":
        raise ValueError(f"measure: flush_l2 needs a CUDA device, got device {str(device)!r}")
    if clock == "process" and device.type != "cpu":
        raise ValueError(f"measure: clock 'process' is for the CPU, got device {str(device)!r}")
    sample = _gpu_clock(device, flush_l2) if device.type == "cuda" else _cpu_clock(clock)
    plans = [_plan(call, device, sample, budget, flush_l2) for call in calls]
    seconds: list[list[float]] = [[] for _ in plans]
    for turn in range(MAX_SAMPLES):
        for plan, taken in zip(plans, seconds, strict=True):
            if turn < plan.samples:
                taken.append(sample(plan.call, plan.calls) / plan.calls)
    return [_summary(plan, taken) for plan, taken in zip(plans, seconds, strict=True)]


class _Plan(NamedTuple):
    call: Call
    samples: int
    calls: int
    peak_bytes: int | None


def _plan(call: Call, device: torch.device, clock: Clock, budget: float, flush_l2: bool) -> _Plan:
    clock(call, 1)
    peak = peak_memory(call, device)
    once = max(clock(call, 1), 1e-9)
    calls = 1 if flush_l2 else max(1, math.ceil(SAMPLE_SECONDS / once))
    samples = min(MAX_SAMPLES, max(MIN_SAMPLES, int(budget / (once * calls))))
    return _Plan(call, samples, calls, peak)


def _summary(plan: _Plan, seconds: list[float]) -> Measurement:
    p20, median, p80 = np.percentile(seconds, [20, 50, 80]).tolist()
    return Measurement(median, p20, p80, plan.samples, plan.calls, plan.peak_bytes)


def _cpu_clock(name: str) -> Clock:
    now = getattr(time, CLOCKS[name])

    def clock(call: Call, calls: int) -> float:
        start = now()
        for _ in range(calls):
            call()
        return now() - start

    return clock


def _gpu_clock(device: torch.device, flush_l2: bool) -> Clock:
    cache = torch.cuda.get_device_properties(device).L2_cache_size
    filler = torch.empty(2 * cache if flush_l2 else 0, dtype=torch.uint8, device=device)

    def clock(call: Call, calls: int) -> float:
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        with torch.cuda.device(device):
            torch.cuda.synchronize()
            filler.zero_()
            start.record()
            for _ in range(calls):
                call()
            end.record()
            torch.cuda.synchronize()
        return start.elapsed_time(end) / 1e3

    return clock


def peak_memory(call: Call, device: torch.device | str) -> int | None:
    """Run a call once, and return the bytes that it needed beyond those in use before.

    On a CPU that is the resident memory of the process, which Linux alone tells and which counts
    whole pages; other threads of the process disturb it.

    Args:
        call: run once.
        device: where it computes.

    Returns:
        Bytes, or None where nobody can tell.

    Example:
        >>> need = peak_memory(lambda: torch.ones(4 << 20), "cpu")
        >>> need is None or need > 15 << 20
        True
    """
    device = torch.device(device)
    gc.collect()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        call()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    if device.type != "cpu" or not _reset_peak():
        return None
    before = _resident("VmRSS")
    call()
    return max(0, _resident("VmHWM") - before)


def _reset_peak() -> bool:
    """Begin a new peak of this process at what it holds now; False where that cannot be done."""
    try:
        # Memory that the C library keeps for later would hide what the call needs.
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")
    except (OSError, AttributeError, TypeError):
        return False
    return True


def _resident(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    line = next(line for line in lines if line.startswith(f"{field}:"))
    return int(line.split()[1]) * 1024
