"""Peak memory of ragged cross-attention on the CPU: a contender a process."""

from __future__ import annotations

import resource
import sys

import torch

from segblocks.bench import Setting
from segblocks.bench.ragged_cross_attention import SUITE
from segblocks.bench.shapes import Ragged

SMALL = Ragged(background_points=2, object_points=2)
LARGE = Ragged(background_points=16384, object_points=1187)


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main(name: str) -> None:
    [contender] = [each for each in SUITE.contenders if each.name == name]
    setting = Setting(torch.device("cpu"), "fp32", "fwd+bwd")

    def report(shape: Ragged) -> None:
        problem = SUITE.make(shape, setting)
        tensors = [tensor.requires_grad_() for tensor in problem.tensors]
        before = peak_mib()
        out = contender.function(problem.given, *tensors)
        assert isinstance(out, torch.Tensor)
        out.sum().backward()
        print(f"{name}: {peak_mib() - before:.0f} MiB for {len(problem.given.indices)} edges")

    report(SMALL)  # libraries are there from now on
    report(LARGE)


if __name__ == "__main__":
    main(sys.argv[1])
