"""Compile the kernels of ragged attention for an absent GPU, through their real launchers.

Run in a process of its own, because a process either interprets Triton or compiles it. Prints a
line of JSON for each compilation.
"""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
from typing import Any

import torch
from triton import knobs
from triton.backends.compiler import GPUTarget
from triton.runtime import driver

from segblocks_kernels.ragged_cross_attention import triton_backward, triton_forward


class _AbsentGpu:
    """As much of a driver as compilation asks for."""

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", 90, 32)

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int) -> int:
        return 0


def _resources(cubin: bytes) -> tuple[int, int]:
    """Registers a thread, and bytes of stack, which is where registers spill."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        command = [knobs.nvidia.cuobjdump.path, "-res-usage", file.name]
        report = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    registers, stack = re.search(r"REG:(\d+) STACK:(\d+)", report).groups()
    return int(registers), int(stack)


class _CompileOnly:
    """A kernel that, launched, is only compiled; known results are not printed again."""

    def __init__(self, name: str, kernel: Any) -> None:
        self._name, self._kernel = name, kernel
        self._seen: list[Any] = []

    def __getitem__(self, grid: tuple[int, ...]) -> Any:
        def launch(*args: Any, **kwargs: Any) -> None:
            compiled = self._kernel.warmup(*args, grid=grid, **kwargs)
            if any(compiled is other for other in self._seen):
                return
            self._seen.append(compiled)
            registers, stack = _resources(compiled.asm["cubin"])
            ptx = compiled.asm["ptx"]
            figures = {
                "kernel": self._name,
                "registers": registers,
                "stack": stack,
                "shared": compiled.metadata.shared,
                "wide": len(re.findall(r"ld\.global\.\S*v4", ptx)) + ptx.count("cp.async.cg"),
                "atomics": len(re.findall(r"(?:red|atom)\.\S*add", ptx)),
            }
            print(json.dumps(figures))

        return launch


def _compile(rows: int, edges: int, heads: int, dim: int, dtype: torch.dtype) -> None:
    q = torch.empty(rows, heads, dim, dtype=dtype)
    k, v = torch.empty(2, 90, heads, dim, dtype=dtype)
    lists = torch.zeros(edges, dtype=torch.int64), torch.linspace(0, edges, rows + 1).long()
    bias = torch.empty(edges)
    out, lse = triton_forward.forward(q, k, v, *lists, bias, 0.2)
    triton_backward.backward(out, q, k, v, *lists, bias, out, lse, 0.2, (True, True, True, True))


if __name__ == "__main__":
    driver.set_active(_AbsentGpu())
    for module, names in (
        (triton_forward, ("span_kernel", "merge_kernel")),
        (triton_backward, ("query_kernel", "sum_kernel", "key_kernel")),
    ):
        for name in names:
            setattr(module, name, _CompileOnly(name, getattr(module, name)))
    # Sizes that Triton would treat apart if it could: 1, divisible by 16, neither.
    for rows, edges in ((48, 320_000), (1, 1), (7, 77)):
        _compile(rows, edges, 8, 32, torch.bfloat16)
    _compile(7, 77, 3, 24, torch.float32)
