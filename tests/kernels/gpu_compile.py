"""Compile Triton kernels for an absent GPU: the interpreter accepts what the compiler may not.

Run in a process of its own, because a process either interprets Triton or compiles it. It relies
on Triton's ``warmup`` and on its driver being replaceable, and prints a line for each compilation.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile

import torch
from triton import knobs
from triton.backends.compiler import GPUTarget
from triton.runtime import driver


class _AbsentGpu:
    """As much of a driver as compilation asks for."""

    def __init__(self, capability: int) -> None:
        self._target = GPUTarget("cuda", capability, 32)

    def get_current_target(self) -> GPUTarget:
        return self._target

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

    def __init__(self, name: str, kernel) -> None:
        self._name, self._kernel = name, kernel
        self._seen = []

    def __getitem__(self, grid):
        def launch(*args, **kwargs) -> None:
            compiled = self._kernel.warmup(*args, grid=grid, **kwargs)
            if any(compiled is other for other in self._seen):
                return
            self._seen.append(compiled)
            registers, stack = _resources(compiled.asm["cubin"])
            ptx = compiled.asm["ptx"]
            wide = ptx.count("ld.global.v4") + ptx.count("cp.async.cg")
            tensor_core = ptx.count("wgmma.mma_async") + ptx.count("mma.sync")
            shared = compiled.metadata.shared
            print(f"{self._name} {registers=} {stack=} {shared=} {wide=} {tensor_core=}")

        return launch


def space_time_attention(*settings: tuple[torch.dtype, int]) -> None:
    from segblocks_kernels.space_time_attention import triton_backward, triton_forward
    from segblocks_kernels.space_time_attention.cells import make_cells

    for module, name in (
        (triton_forward, "forward_kernel"),
        (triton_forward, "resident_kernel"),
        (triton_backward, "query_kernel"),
        (triton_backward, "key_kernel"),
    ):
        setattr(module, name, _CompileOnly(name, getattr(module, name)))
    # Sizes that Triton would treat apart if it could: 1, divisible by 16, neither.
    clips = (
        (3, [15, 27, 30, 54, 60, 108]),
        (16, [15, 27, 30, 54, 60, 108]),
        (12, [1, 17, 2, 33, 4, 64]),
    )
    for dtype, head_dim in settings:
        print(dtype, head_dim)
        for frames, shapes in clips:
            cells = make_cells(shapes, [2, 4, 8])
            packed = torch.empty(1, frames, cells.num_tokens, 3, 8, head_dim, dtype=dtype)
            q, k, v = packed.unbind(3)
            inputs = (q, k, v, q[0], k[0])
            out, lse = triton_forward.forward(*inputs, cells, 0.2)
            triton_backward.backward(torch.empty_like(out), *inputs, out, lse, cells, 0.2)


if __name__ == "__main__":
    driver.set_active(_AbsentGpu(int(sys.argv[1]) if len(sys.argv) > 1 else 90))
    space_time_attention((torch.bfloat16, 32), (torch.float32, 24))
