"""The suites of ``segblocks.bench`` as benchmarks of pytest-benchmark.

``segblocks bench`` measures the same contenders side by side and makes the stored results; here
each is a benchmark of its own, so that pytest's selection and its comparison of runs apply.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from benchmarks.conftest import GPU
from segblocks.bench import Setting, Suite, prepare
from segblocks.bench.suite import DIRECTIONS

DTYPES = ("fp32", "bf16")


def benchmark_of(suite: Suite) -> Callable[..., None]:
    """Return a parametrised benchmark: contenders, directions, types, shapes and devices.

    On a CPU it has the small shapes. What cannot run here is skipped; what fails or is wrong fails.

    Args:
        suite: of an operation.
    """

    @pytest.mark.parametrize("contender", suite.contenders, ids=lambda contender: contender.name)
    @pytest.mark.parametrize("direction", DIRECTIONS)
    @pytest.mark.parametrize("dtype", DTYPES)
    @pytest.mark.parametrize(("device", "name"), list(_places(suite)), indirect=["device"])
    def run(bench, benchmark, device, name, dtype, direction, contender) -> None:
        benchmark.group = f"{suite.name} {device} {name} {dtype} {direction}"
        setting = Setting(torch.device(device), dtype, direction)
        if reason := contender.unavailable(setting):
            pytest.skip(reason)
        [found] = prepare(suite, suite.shapes[name], setting, [contender])
        assert found.call is not None, found.refused
        bench(found.call)

    return run


def _places(suite: Suite) -> Iterator[Any]:
    for name in suite.small:
        yield pytest.param("cpu", name, id=f"cpu-{name}")
    for name in suite.shapes:
        yield pytest.param("cuda", name, id=f"cuda-{name}", marks=GPU)
