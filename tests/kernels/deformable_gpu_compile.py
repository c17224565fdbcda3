"""Compile the kernels of deformable attention for an absent GPU, through their real launchers.

Run in a process of its own, because a process either interprets Triton or compiles it. Prints a
line of JSON for each compilation.
"""

from __future__ import annotations

import json
import re
from typing import Any

import torch
from triton.backends.compiler import GPUTarget
from triton.runtime import driver

from segblocks_kernels.ms_deform_attn import (
    triton_backward,
    triton_forward,
    triton_replicas,
    triton_sorted,
)
from tests.kernels.deformable_cases import Case


class _AbsentGpu:
    """As much of a driver as compilation asks for."""

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", 90, 32)

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int) -> int:
        return 0


class _CompileOnly:
    """A kernel that, launched, is only compiled; ``seen`` holds the distinct results."""

    def __init__(self, name: str, kernel: Any) -> None:
        self._name, self._kernel = name, kernel
        self.seen: list[Any] = []

    def __getitem__(self, grid: tuple[int, ...]) -> Any:
        def launch(*args: Any, **kwargs: Any) -> None:
            compiled = self._kernel.warmup(*args, grid=grid, **kwargs)
            if any(compiled is other for other in self.seen):
                return
            self.seen.append(compiled)
            ptx = compiled.asm["ptx"]
            figures = {
                "kernel": self._name,
                "shared": compiled.metadata.shared,
                "loads": len(re.findall(r"ld\.global\.\S*v4", ptx)),
                "adds": len(re.findall(r"(?:red|atom)\.global\.\S*add", ptx)),
                "vector_adds": len(re.findall(r"(?:red|atom)\.global\.\S*add\S*\.v4\.f32", ptx)),
            }
            print(json.dumps(figures))

        return launch


def _compile(case: Case, dtype: torch.dtype) -> None:
    value, locations, weights = case.inputs(dtype)
    inputs = (value, case.shapes, locations, weights)
    grad = torch.empty_like(triton_forward.forward_triton(*inputs))
    triton_backward.backward_triton(grad, *inputs, (True, True, True))
    torch.use_deterministic_algorithms(True)
    triton_backward.backward_triton(grad, *inputs, (True, True, True))
    torch.use_deterministic_algorithms(False)


if __name__ == "__main__":
    driver.set_active(_AbsentGpu())
    for module, name in (
        (triton_forward, "_forward_kernel"),
        (triton_backward, "_backward_kernel"),
        (triton_replicas, "_fold_kernel"),
        (triton_sorted, "_sum_by_pixel_kernel"),
    ):
        setattr(module, name, _CompileOnly(name, getattr(module, name)))
    # Sizes that Triton would treat apart if it could: 1, divisible by 16, neither. So many queries
    # that the smaller level has copies.
    for shapes in (((16, 32), (1, 5)), ((7, 1), (3, 48))):
        _compile(Case(shapes, dim=32, points=4, heads=8, queries=100), torch.bfloat16)
    _compile(Case(((3, 3),), dim=24, points=1), torch.float64)
