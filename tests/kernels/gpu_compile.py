"""Compile Triton kernels for an absent GPU: the interpreter accepts what the compiler may not.

Run in a process of its own, because a process either interprets Triton or compiles it. It relies
on Triton's ``warmup`` and on its driver being replaceable, and prints a line for each kernel.
"""

from __future__ import annotations

import torch
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


class _CompileOnly:
    """A kernel that, launched, is only compiled."""

    def __init__(self, name: str, kernel) -> None:
        self._name, self._kernel = name, kernel

    def __getitem__(self, grid):
        def launch(*args, **kwargs) -> None:
            compiled = self._kernel.warmup(*args, grid=grid, **kwargs)
            ptx = compiled.asm["ptx"]
            wide = ptx.count("ld.global.v4") + ptx.count("cp.async.cg")
            tensor_core = ptx.count("wgmma.mma_async") + ptx.count("mma.sync")
            print(f"{self._name} shared={compiled.metadata.shared} {wide=} {tensor_core=}")

        return launch


def space_time_attention(*settings: tuple[torch.dtype, int]) -> None:
    from segblocks_kernels.space_time_attention import triton_backward, triton_forward
    from segblocks_kernels.space_time_attention.cells import make_cells

    for module, name in (
        (triton_forward, "forward_kernel"),
        (triton_backward, "query_kernel"),
        (triton_backward, "key_kernel"),
    ):
        setattr(module, name, _CompileOnly(name, getattr(module, name)))
    cells = make_cells([15, 27, 30, 54, 60, 108], [2, 4, 8])
    for dtype, head_dim in settings:
        print(dtype, head_dim)
        packed = torch.empty(1, 3, cells.num_tokens, 3, 8, head_dim, dtype=dtype)
        q, k, v = packed.unbind(3)
        out, lse = triton_forward.forward(q, k, v, cells, 0.2)
        triton_backward.backward(torch.empty_like(out), q, k, v, out, lse, cells, 0.2)


if __name__ == "__main__":
    driver.set_active(_AbsentGpu(90))
    space_time_attention((torch.bfloat16, 32), (torch.float32, 24))
