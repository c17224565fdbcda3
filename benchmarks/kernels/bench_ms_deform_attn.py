"""Deformable attention against grid_sample, which is what runs without a compiled extension.

pytest benchmarks/kernels/bench_ms_deform_attn.py \
    -o python_files='bench_*.py' -o python_functions='bench_*' --benchmark-group-by=group
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from segblocks.ops import ms_deform_attn, ms_deform_attn_fused
from segblocks_kernels.ms_deform_attn.reference import ms_deform_attn_reference
from segblocks_kernels.ms_deform_attn_fused.reference import (
    ms_deform_attn_fused_reference,
    sampling_locations,
)

# The encoder of TarViS: frames, then (height, width) at strides 32, 16, 8.
LEVELS_480P = ((15, 27), (30, 54), (60, 108))
LEVELS_720P = ((24, 40), (48, 80), (96, 160))
SHAPES = {
    "480p_T1": (1, LEVELS_480P),
    "480p_T3": (3, LEVELS_480P),
    "480p_T8": (8, LEVELS_480P),
    "720p_T12": (12, LEVELS_720P),
}
CUDA = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]
RUNS = [
    *[pytest.param("cpu", shape, id=f"cpu-{shape}") for shape in ("480p_T1", "480p_T3")],
    *[pytest.param("cuda", shape, id=f"cuda-{shape}", marks=CUDA) for shape in SHAPES],
]
HEADS, DIM, POINTS = 8, 32, 4
OFFSET_SIGMA = 2.0  # pixels

Call = Callable[[Tensor, Tensor, Tensor], Tensor]


def make_inputs(name: str, dtype: torch.dtype, device: str) -> tuple[Tensor, Tensor, Tensor]:
    """Every pixel of every level asks, at gaussian offsets around itself."""
    frames, levels = SHAPES[name]
    torch.manual_seed(0)
    centres = []
    for height, width in levels:
        y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        centres.append(torch.stack(((x + 0.5) / width, (y + 0.5) / height), -1).flatten(0, 1))
    reference = torch.cat(centres).to(device)
    samples = (frames, len(reference), HEADS, len(levels), POINTS)
    sizes = torch.tensor([(w, h) for h, w in levels], device=device)
    offsets = torch.randn((*samples, 2), device=device) * OFFSET_SIGMA / sizes[:, None]
    weights = torch.randn(samples, device=device).flatten(-2).softmax(-1).view(samples)
    value = torch.randn(frames, len(reference), HEADS, DIM, device=device).to(dtype)
    return value, reference[:, None, None, None] + offsets, weights


def implementation(peer: str, levels: tuple[tuple[int, int], ...]) -> Call:
    """Ours as a user calls it, or plain grid_sample under autograd."""
    if peer == "grid_sample":
        return lambda v, x, w: ms_deform_attn_reference(v, levels, x, w)
    return lambda v, x, w: ms_deform_attn(v, levels, x, w)


@pytest.mark.parametrize("peer", ["segblocks", "grid_sample"])
@pytest.mark.parametrize("mode", ["forward", "forward_backward"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize(("device", "shape"), RUNS, indirect=["device"])
def bench_ms_deform_attn(
    bench, benchmark, device: str, shape: str, dtype: torch.dtype, mode: str, peer: str
) -> None:
    benchmark.group = f"ms_deform_attn {device} {shape} {str(dtype)[6:]} {mode}"
    inputs = make_inputs(shape, dtype, device)
    function = implementation(peer, SHAPES[shape][1])
    want = ms_deform_attn_reference(inputs[0], SHAPES[shape][1], *inputs[1:]).float()
    error = (function(*inputs).float() - want).norm() / want.norm()
    assert error < (1e-5 if dtype == torch.float32 else 1e-2)
    if mode == "forward":
        bench(lambda: function(*inputs))
        return
    leaves = [t.requires_grad_() for t in inputs]
    grad = torch.randn_like(want).to(dtype)
    bench(lambda: torch.autograd.grad(function(*leaves), leaves, grad))


def make_fused_inputs(name: str, dtype: torch.dtype, device: str) -> tuple[Tensor, Tensor, Tensor]:
    """Value, offsets in pixels and logits of every pixel of every level."""
    frames, levels = SHAPES[name]
    torch.manual_seed(0)
    tokens = sum(height * width for height, width in levels)
    samples = (frames, tokens, HEADS, len(levels), POINTS)
    offsets = torch.randn((*samples, 2), device=device) * OFFSET_SIGMA
    logits = torch.randn(samples, device=device)
    value = torch.randn(frames, tokens, HEADS, DIM, device=device).to(dtype)
    return value, offsets, logits


def fused_implementation(peer: str, levels: tuple[tuple[int, int], ...]) -> Call:
    """Ours in one, ours after softmax and normalisation in PyTorch, or grid_sample after them."""
    if peer == "grid_sample":
        return lambda v, x, a: ms_deform_attn_fused_reference(v, levels, None, x, a)
    if peer == "segblocks":
        return lambda v, x, a: ms_deform_attn_fused(v, levels, None, x, a)

    def separate(value: Tensor, offsets: Tensor, logits: Tensor) -> Tensor:
        locations = sampling_locations(None, levels, offsets, offsets.dtype)
        weights = logits.flatten(-2).softmax(-1).view_as(logits)
        return ms_deform_attn(value, levels, locations, weights)

    return separate


@pytest.mark.parametrize("peer", ["segblocks", "separate", "grid_sample"])
@pytest.mark.parametrize("mode", ["forward", "forward_backward"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize(("device", "shape"), RUNS, indirect=["device"])
def bench_ms_deform_attn_fused(
    bench, benchmark, device: str, shape: str, dtype: torch.dtype, mode: str, peer: str
) -> None:
    benchmark.group = f"ms_deform_attn_fused {device} {shape} {str(dtype)[6:]} {mode}"
    inputs = make_fused_inputs(shape, dtype, device)
    function = fused_implementation(peer, SHAPES[shape][1])
    want = fused_implementation("grid_sample", SHAPES[shape][1])(*inputs).float()
    error = (function(*inputs).float() - want).norm() / want.norm()
    assert error < (1e-5 if dtype == torch.float32 else 1e-2)
    if mode == "forward":
        bench(lambda: function(*inputs))
        return
    leaves = [t.requires_grad_() for t in inputs]
    grad = torch.randn_like(want).to(dtype)
    bench(lambda: torch.autograd.grad(function(*leaves), leaves, grad))
