"""Peak memory of matching and losses, forward and backward, above their inputs.

On a GPU what its allocator held at most; on the CPU what the process held at most, a contender a
process. The gradients by features and embeddings are part of it.
"""

from __future__ import annotations

import argparse
import resource
import time

import torch

from benchmarks.losses.contenders import CONTENDERS, Clip, make_clip


def peak_bytes(device: str) -> int:
    """Memory held at most so far."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def step(name: str, clip: Clip) -> None:
    """One step, whose gradients are dropped."""
    CONTENDERS[name](clip).backward()
    for tensor in clip[:3]:
        tensor.grad = None


def main() -> None:
    """Print peak memory and time of one contender."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=CONTENDERS)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--objects", type=int, default=10)
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--layers", type=int, default=10)
    parser.add_argument("--repeat", type=int, default=3)
    arguments = parser.parse_args()
    device = arguments.device
    # Libraries and their workspaces are there from now on.
    step(arguments.name, make_clip(device, layers=1, queries=8, objects=2, size=(64, 96)))
    clip = make_clip(
        device,
        objects=arguments.objects,
        queries=arguments.queries,
        layers=arguments.layers,
    )
    if device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
    else:
        before = peak_bytes(device)
    step(arguments.name, clip)
    peak = peak_bytes(device) - before
    times = []
    for _ in range(arguments.repeat):
        start = time.perf_counter()
        step(arguments.name, clip)
        if device == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    milliseconds = 1000 * sorted(times)[len(times) // 2] if times else float("nan")
    print(f"{arguments.name} on {device}: {peak / 2**20:.0f} MiB, {milliseconds:.0f} ms")


if __name__ == "__main__":
    main()
