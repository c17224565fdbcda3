"""Compile the kernels of deformable attention for an absent GPU, through their real launchers."""

from __future__ import annotations

import torch

from segblocks_kernels.ms_deform_attn import (
    triton_backward,
    triton_forward,
    triton_replicas,
    triton_sorted,
)
from tests.kernels.absent_gpu import compile_only
from tests.kernels.deformable_cases import Case


def _compile(case: Case, dtype: torch.dtype) -> None:
    value, locations, weights = case.inputs(dtype)
    inputs = (value, case.shapes, locations, weights)
    grad = torch.empty_like(triton_forward.forward_triton(*inputs))
    triton_backward.backward_triton(grad, *inputs, (True, True, True))
    torch.use_deterministic_algorithms(True)
    triton_backward.backward_triton(grad, *inputs, (True, True, True))
    torch.use_deterministic_algorithms(False)


if __name__ == "__main__":
    compile_only(
        (triton_forward, "_forward_kernel"),
        (triton_backward, "_backward_kernel"),
        (triton_replicas, "_fold_kernel"),
        (triton_sorted, "_sum_by_pixel_kernel"),
    )
    # Sizes that Triton would treat apart if it could: 1, divisible by 16, neither. So many queries
    # that the smaller level has copies.
    for shapes in (((16, 32), (1, 5)), ((7, 1), (3, 48))):
        _compile(Case(shapes, dim=32, points=4, heads=8, queries=100), torch.bfloat16)
    _compile(Case(((3, 3),), dim=24, points=1), torch.float64)
