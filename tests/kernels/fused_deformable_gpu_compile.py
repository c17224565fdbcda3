"""Compile the kernels of fused deformable attention for an absent GPU, through their launchers."""

from __future__ import annotations

import torch

from segblocks_kernels.ms_deform_attn import triton_replicas
from segblocks_kernels.ms_deform_attn_fused import triton_backward, triton_forward
from tests.kernels.absent_gpu import compile_only
from tests.kernels.fused_deformable_cases import FusedCase


def _compile(case: FusedCase, dtype: torch.dtype) -> None:
    value, points, offsets, logits = case.inputs(dtype)
    if points is not None:
        points = points[:, None].expand(case.batch, -1, len(case.shapes), -1)
    inputs = (value, case.shapes, points, offsets, logits)
    grad = torch.empty_like(triton_forward.forward_triton(*inputs))
    triton_backward.backward_triton(grad, *inputs, (True, True, True, True))


if __name__ == "__main__":
    compile_only(
        (triton_forward, "_forward_kernel"),
        (triton_backward, "_backward_kernel"),
        (triton_replicas, "_fold_kernel"),
    )
    # Sizes that Triton would treat apart if it could: 1, divisible by 16, neither. So many points
    # that the smaller level has copies.
    for shapes in (((16, 32), (1, 5)), ((7, 1), (3, 48))):
        for form in ("tokens", "Q"):
            case = FusedCase(shapes, dim=32, points=4, heads=8, form=form, queries=100)
            _compile(case, torch.bfloat16)
