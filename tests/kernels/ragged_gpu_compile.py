"""Compile the kernels of ragged attention for an absent GPU, through their real launchers."""

from __future__ import annotations

import torch

from segblocks_kernels.ragged_cross_attention import triton_backward, triton_forward
from tests.kernels.absent_gpu import compile_only


def _compile(rows: int, edges: int, heads: int, dim: int, dtype: torch.dtype) -> None:
    q = torch.empty(rows, heads, dim, dtype=dtype)
    k, v = torch.empty(2, 90, heads, dim, dtype=dtype)
    lists = torch.zeros(edges, dtype=torch.int64), torch.linspace(0, edges, rows + 1).long()
    bias = torch.empty(edges)
    out, lse = triton_forward.forward(q, k, v, *lists, bias, 0.2)
    triton_backward.backward(out, q, k, v, *lists, bias, out, lse, 0.2, (True, True, True, True))


if __name__ == "__main__":
    compile_only(
        (triton_forward, "span_kernel"),
        (triton_forward, "merge_kernel"),
        (triton_backward, "query_kernel"),
        (triton_backward, "sum_kernel"),
        (triton_backward, "key_kernel"),
    )
    # Sizes that Triton would treat apart if it could: 1, divisible by 16, neither.
    for rows, edges in ((48, 320_000), (1, 1), (7, 77)):
        _compile(rows, edges, 8, 32, torch.bfloat16)
    _compile(7, 77, 3, 24, torch.float32)
