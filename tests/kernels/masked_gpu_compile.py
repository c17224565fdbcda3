"""Compile the kernels of masked attention for an absent GPU, through their real launchers."""

from __future__ import annotations

import torch

from segblocks_kernels.masked_cross_attention import (
    op,
    triton_backward,
    triton_forward,
    triton_pack,
    triton_tiles,
)
from tests.kernels.absent_gpu import compile_only


def _compile(dtype: torch.dtype, keys: int, dim: int, *, product: bool, soft: bool) -> None:
    q = torch.empty(2, 100, 8, dim, dtype=dtype)
    k, v = torch.empty(2, 2, keys, 8, dim, dtype=dtype)
    mask = torch.empty(2, 100, 256, dtype=dtype) if product else torch.empty(2, 100, keys)
    features = torch.empty(2, keys, 256, dtype=dtype) if product else None
    bias = torch.empty(2, 100, keys) if soft else None
    bias_scale = torch.empty(8) if soft else None
    lse, *packed = op._saved(q, k, mask, True)
    triton_pack.pack(mask, features, *packed)
    out = torch.empty_like(q)
    triton_forward.forward(q, k, v, tuple(packed), bias, bias_scale, out, lse, 0.2)
    inputs = (out, q, k, v, tuple(packed), bias, bias_scale, out, lse)
    triton_backward.backward(*inputs, 0.2, [True, True, True, soft, soft])


if __name__ == "__main__":
    triton_tiles._PROCESSORS_WITHOUT_GPU = 132
    compile_only(
        (triton_pack, "pack_kernel"),
        (triton_pack, "pack_product_kernel"),
        (triton_forward, "split_kernel"),
        (triton_forward, "merge_kernel"),
        (triton_backward, "query_kernel"),
        (triton_backward, "key_kernel"),
        (triton_backward, "bias_kernel"),
    )
    # Sizes that Triton would treat apart if it could: divisible by 16, neither.
    for keys in (19440, 5377):
        _compile(torch.bfloat16, keys, 32, product=True, soft=False)
    _compile(torch.float32, 5377, 24, product=False, soft=True)
