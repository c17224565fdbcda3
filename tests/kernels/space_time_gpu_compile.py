"""Compile the kernels of space-time attention for an absent GPU, through their real launchers."""

from __future__ import annotations

import sys

import torch

from segblocks_kernels.space_time_attention import triton_backward, triton_forward
from segblocks_kernels.space_time_attention.cells import make_cells
from tests.kernels.absent_gpu import compile_only


def _compile(dtype: torch.dtype, head_dim: int) -> None:
    # Sizes that Triton would treat apart if it could: 1, divisible by 16, neither.
    clips = (
        (3, [15, 27, 30, 54, 60, 108]),
        (16, [15, 27, 30, 54, 60, 108]),
        (12, [1, 17, 2, 33, 4, 64]),
    )
    for frames, shapes in clips:
        cells = make_cells(shapes, [2, 4, 8])
        packed = torch.empty(1, frames, cells.num_tokens, 3, 8, head_dim, dtype=dtype)
        q, k, v = packed.unbind(3)
        inputs = (q, k, v, q[0], k[0])
        out, lse = triton_forward.forward(*inputs, cells, 0.2)
        triton_backward.backward(torch.empty_like(out), *inputs, out, lse, cells, 0.2)


if __name__ == "__main__":
    compile_only(
        (triton_forward, "forward_kernel"),
        (triton_forward, "resident_kernel"),
        (triton_backward, "query_kernel"),
        (triton_backward, "key_kernel"),
        capability=int(sys.argv[1]) if len(sys.argv) > 1 else 90,
    )
    _compile(torch.bfloat16, 32)
    _compile(torch.float32, 24)
