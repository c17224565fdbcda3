"""Peak memory of matching and losses, forward and backward, above their inputs.

On a GPU what the allocator held at most. On the CPU two figures: what the process held at most, a
contender a process, and the sum of the tensors, from the profiler. The gradients by features and
embeddings are part of all of them.
"""

from __future__ import annotations

import argparse
import resource
import time

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.losses.contenders import CONTENDERS, Clip, make_clip


def step(name: str, clip: Clip) -> None:
    """One step, whose gradients are dropped."""
    CONTENDERS[name](clip).backward()
    for tensor in clip[:3]:
        tensor.grad = None


def peak_of_process() -> int:
    """What the process held at most so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def peak_of_tensors(name: str, clip: Clip) -> int:
    """What the tensors of a step on the CPU take at most, in bytes."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as run:
        step(name, clip)
    assert run.profiler is not None
    assert run.profiler.kineto_results is not None
    events = [e for e in run.profiler.kineto_results.events() if e.name() == "[memory]"]
    held = peak = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        held += event.nbytes()  # pyright: ignore[reportAttributeAccessIssue]
        peak = max(peak, held)
    return peak


def measure(name: str, clip: Clip, device: str) -> dict[str, int]:
    """Bytes of one step, by what they are counted with."""
    if device == "cpu":
        before = peak_of_process()
        step(name, clip)
        process = peak_of_process() - before
        return {"process": process, "tensors": peak_of_tensors(name, clip)}
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    step(name, clip)
    return {"allocator": torch.cuda.max_memory_allocated() - before}


def milliseconds(name: str, clip: Clip, repeat: int) -> float:
    """Median time of a step; on the CPU that of the processor, whatever else it works on."""
    clock = time.perf_counter if clip.features.is_cuda else time.process_time
    times = []
    for _ in range(repeat):
        start = clock()
        step(name, clip)
        if clip.features.is_cuda:
            torch.cuda.synchronize()
        times.append(clock() - start)
    return 1000 * sorted(times)[len(times) // 2]


def main() -> None:
    """Print peak memory and time of one contender."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=CONTENDERS)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--objects", type=int, default=10)
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--layers", type=int, default=10)
    parser.add_argument("--repeat", type=int, default=5)
    arguments = parser.parse_args()
    name, device = arguments.name, arguments.device
    # Libraries and their workspaces are there from now on.
    step(name, make_clip(device, layers=1, queries=8, objects=2, size=(64, 96)))
    counts = {k: getattr(arguments, k) for k in ("objects", "queries", "layers")}
    clip = make_clip(device, **counts)
    peaks = measure(name, clip, device)
    peaks_text = ", ".join(f"{value / 2**20:.0f} MiB ({by})" for by, value in peaks.items())
    print(f"{name} on {device}: {peaks_text}, {milliseconds(name, clip, arguments.repeat):.0f} ms")


if __name__ == "__main__":
    main()
