"""The CPU path: ms_deform_attn.cpp through ctypes."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from .._native import load_library, preview_library
from .reference import compute_dtype

SOURCE = Path(__file__).with_name("ms_deform_attn.cpp")
# Below this many gathered numbers a thread costs more than it brings.
_WORK_PER_THREAD = 1 << 18


def cpp_unavailable(device: torch.device) -> str | None:
    """Why the C++ path cannot run on ``device``, or None when it can."""
    if device.type != "cpu":
        return f"it runs on the CPU only, not on device {device.type!r}"
    library = load_library(SOURCE)
    return library if isinstance(library, str) else None


def cpp_preview(device: torch.device) -> tuple[str | None, str]:
    """What ``cpp_unavailable`` will say, without compiling, and whether that is yet to come."""
    if device.type != "cpu":
        return cpp_unavailable(device), ""
    return preview_library(SOURCE)


def _call(name: str, *arguments: Tensor | ctypes.Array[ctypes.c_int64] | int | None) -> None:
    library = load_library(SOURCE)
    if isinstance(library, str):
        raise RuntimeError(f"ms_deform_attn: the C++ path is not available: {library}")
    converted: list[object] = []
    for argument in arguments:
        if isinstance(argument, Tensor):
            converted.append(ctypes.c_void_p(argument.data_ptr()))
        elif isinstance(argument, int):
            converted.append(ctypes.c_int64(argument))
        else:
            converted.append(argument)
    function = getattr(library, name)
    function.restype = None
    function(*converted)


def _ints(numbers: Sequence[int]) -> ctypes.Array[ctypes.c_int64]:
    return (ctypes.c_int64 * len(numbers))(*numbers)


def _sizes(value: Tensor, locations: Tensor) -> tuple[ctypes.Array[ctypes.c_int64], int]:
    batch, tokens, heads, dim = value.shape
    queries, levels, points = locations.shape[1], locations.shape[3], locations.shape[4]
    work = batch * queries * heads * levels * points * dim
    threads = max(1, min(torch.get_num_threads(), work // _WORK_PER_THREAD))
    return _ints((batch, tokens, queries, heads, dim, levels, points)), threads


def _suffix(dtype: torch.dtype) -> str:
    return "f64" if dtype == torch.float64 else "f32"


def forward_cpp(
    value: Tensor,
    spatial_shapes: Sequence[tuple[int, int]],
    sampling_locations: Tensor,
    attention_weights: Tensor,
    anchors: Tensor | None = None,
) -> Tensor:
    """The output, in the type of ``value``; arguments as in ``ms_deform_attn``.

    With ``anchors``, contiguous (B, Q, L, 2, 2) as (pixel, fraction) of x and of y, in the type of
    computation, locations count in pixels from these.
    """
    dtype = compute_dtype(value, sampling_locations)
    inputs = [t.to(dtype).contiguous() for t in (value, sampling_locations, attention_weights)]
    batch, _, heads, dim = value.shape
    out = torch.empty((batch, sampling_locations.shape[1], heads * dim), dtype=dtype)
    shapes = _ints([size for shape in spatial_shapes for size in shape])
    sizes, threads = _sizes(value, sampling_locations)
    name = f"ms_deform_attn_forward_{_suffix(dtype)}"
    _call(name, inputs[0], shapes, inputs[1], inputs[2], anchors, out, sizes, threads)
    return out.to(value.dtype)


def backward_cpp(
    grad_out: Tensor,
    value: Tensor,
    spatial_shapes: Sequence[tuple[int, int]],
    sampling_locations: Tensor,
    attention_weights: Tensor,
    needs: tuple[bool, bool, bool],
    anchors: Tensor | None = None,
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """The gradients that ``needs`` asks for, in the types of their inputs."""
    dtype = compute_dtype(value, sampling_locations)
    sources = (value, sampling_locations, attention_weights)
    inputs = [t.to(dtype).contiguous() for t in sources]
    grad_value = torch.zeros_like(inputs[0]) if needs[0] else None
    # Locations and weights come out of the same dot products: both or neither.
    dots = needs[1] or needs[2]
    grads = [torch.empty_like(t) if dots else None for t in inputs[1:]]
    shapes = _ints([size for shape in spatial_shapes for size in shape])
    sizes, threads = _sizes(value, sampling_locations)
    name = f"ms_deform_attn_backward_{_suffix(dtype)}"
    if grad_value is not None or dots:
        grad = grad_out.to(dtype).contiguous()
        leading = grad, inputs[0], shapes, inputs[1], inputs[2], anchors
        _call(name, *leading, grad_value, grads[0], grads[1], sizes, threads)
    results = [
        grad.to(source.dtype) if grad is not None and needed else None
        for grad, source, needed in zip((grad_value, *grads), sources, needs, strict=True)
    ]
    return results[0], results[1], results[2]
