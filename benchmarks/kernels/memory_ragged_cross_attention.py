"""Peak memory of ragged cross-attention on the CPU: a contender a process."""

from __future__ import annotations

import resource
import sys

import torch

from benchmarks.kernels.bench_ragged_cross_attention import CONTENDERS, NUM_KEYS, make_edges


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main(name: str) -> None:
    lengths = [16384] * 16 + [1187] * 32
    q = torch.randn(len(lengths), 8, 32, requires_grad=True)
    k, v = (torch.randn(NUM_KEYS, 8, 32, requires_grad=True) for _ in range(2))

    def run(edges) -> None:
        CONTENDERS[name](q, k, v, edges).sum().backward()

    run(make_edges([2] * len(lengths), "cpu"))  # gradients and libraries are there from now on
    edges = make_edges(lengths, "cpu")
    before = peak_mib()
    run(edges)
    print(f"{name}: {peak_mib() - before:.0f} MiB for {len(edges.indices)} edges")


if __name__ == "__main__":
    main(sys.argv[1])
