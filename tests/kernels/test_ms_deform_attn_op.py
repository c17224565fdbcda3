"""Deformable attention as PyTorch sees it: operators, compilation, backends, errors."""

from __future__ import annotations

import doctest
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from segblocks.ops import ms_deform_attn
from segblocks_kernels import backend_report
from segblocks_kernels._backend import interpreter_on
from segblocks_kernels._native import load_library
from segblocks_kernels.ms_deform_attn import api, cpp, op
from tests.kernels.absent_gpu import compiled_by
from tests.kernels.deformable_cases import CASES, Case

CASE = CASES["two levels, D=32, P=3"]
FLAT = [size for shape in CASE.shapes for size in shape]
NO_INTERPRETER = pytest.mark.skipif(not interpreter_on(), reason="Triton is not interpreted")
NO_COMPILER = pytest.mark.skipif(isinstance(load_library(cpp.SOURCE), str), reason="no compiler")
CUDA = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]
DEVICES = ["cpu", pytest.param("cuda", marks=CUDA)]
# Every way to run the operation: (device, backend).
TRITON = [
    pytest.param("cpu", "triton", marks=NO_INTERPRETER),
    pytest.param("cuda", "triton", marks=CUDA),
]
PATHS = [
    ("cpu", "reference"),
    pytest.param("cpu", "cpp", marks=NO_COMPILER),
    *TRITON,
    pytest.param("cuda", "reference", marks=CUDA),
]


class Layer(torch.nn.Module):
    """The function as a module, which export asks for."""

    def forward(self, value: Tensor, locations: Tensor, weights: Tensor) -> Tensor:
        return ms_deform_attn(value, CASE.shapes, locations, weights)


def strided(tensor: Tensor) -> Tensor:
    """The same numbers in a dense, permuted layout."""
    return tensor.transpose(0, 1).contiguous().transpose(0, 1)


@pytest.mark.parametrize("layout", [Tensor.contiguous, strided], ids=["dense", "permuted"])
@pytest.mark.parametrize(("device", "backend"), PATHS)
def test_opcheck(device: str, backend: str, layout: Any) -> None:
    case = Case(((2, 3), (0, 2)), dim=4, points=1, queries=3, heads=1)
    inputs = case.inputs(torch.float32, device)
    value, locations, weights = (layout(t).requires_grad_() for t in inputs)
    arguments = (value, [2, 3, 0, 2], locations, weights, backend)
    torch.library.opcheck(torch.ops.segblocks.ms_deform_attn.default, arguments)
    grad = torch.randn(2, 3, 4, device=device)
    for needs in ([True, True, True], [True, False, False], [False, True, False]):
        tensors = [t.detach() for t in (value, locations, weights)]
        torch.library.opcheck(
            torch.ops.segblocks.ms_deform_attn_backward.default,
            (grad, tensors[0], [2, 3, 0, 2], *tensors[1:], needs, backend),
        )


def gradients(function: Any, inputs: tuple[Tensor, ...]) -> list[Tensor]:
    leaves = [t.detach().requires_grad_() for t in inputs]
    out = function(*leaves)
    out.square().sum().backward()
    return [out.detach(), *(leaf.grad for leaf in leaves if leaf.grad is not None)]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("compiler", ["aot_eager", "inductor"])
def test_compiles_without_a_break(compiler: str, device: str) -> None:
    if compiler == "inductor":
        pytest.importorskip("torch._inductor")
    torch._dynamo.reset()
    layer = Layer()
    inputs = CASE.inputs(torch.float32, device)
    compiled = torch.compile(layer, fullgraph=True, backend=compiler)
    for g, w in zip(gradients(compiled, inputs), gradients(layer, inputs), strict=True):
        torch.testing.assert_close(g, w, rtol=1e-5, atol=1e-6)


def test_a_new_resolution_compiles_once_more_at_most() -> None:
    torch._dynamo.reset()
    counter = torch._dynamo.testing.CompileCounter()

    @torch.compile(fullgraph=True, backend=counter)
    def function(value: Tensor, height: int, width: int, locations: Tensor, w: Tensor) -> Tensor:
        return ms_deform_attn(value, [(height, width)], locations, w)

    for height, width in ((3, 4), (5, 6), (7, 9), (8, 5)):
        case = Case(((height, width),), dim=4, points=2)
        value, locations, weights = case.inputs(torch.float32)
        got = function(value, height, width, locations, weights)
        torch.testing.assert_close(got, ms_deform_attn(value, case.shapes, locations, weights))
    assert counter.frame_count <= 2


@pytest.mark.parametrize("device", DEVICES)
def test_exports_with_dynamic_sizes_and_an_open_backend(device: str) -> None:
    batch, queries = torch.export.Dim("batch"), torch.export.Dim("queries")
    inputs = CASE.inputs(torch.float32, device)
    program = torch.export.export(
        Layer(), inputs, dynamic_shapes=({0: batch}, *[{0: batch, 1: queries}] * 2)
    )
    calls = [
        n for n in program.graph.nodes if n.target is torch.ops.segblocks.ms_deform_attn.default
    ]
    assert [call.args[-1] for call in calls] == ["auto"]
    case = Case(CASE.shapes, CASE.dim, CASE.points, queries=4, batch=3)
    other = case.inputs(torch.float32, device)
    torch.testing.assert_close(program.module()(*other), Layer()(*other))


@pytest.mark.parametrize(("device", "backend"), [*PATHS, ("cpu", "auto")])
def test_autocast_touches_neither_coordinates_nor_sums(device: str, backend: str) -> None:
    value, locations, weights = CASE.inputs(torch.bfloat16, device)
    assert locations.dtype == torch.float32
    outside = ms_deform_attn(value, CASE.shapes, locations, weights, backend=backend)
    with torch.autocast(device, torch.bfloat16):
        inside = ms_deform_attn(value, CASE.shapes, locations, weights, backend=backend)
        double = ms_deform_attn(value.double(), CASE.shapes, locations, weights, backend=backend)
        mixed = gradients(
            lambda v, x, w: ms_deform_attn(v, CASE.shapes, x, w, backend=backend),
            (value, locations, weights.bfloat16()),
        )
    assert inside.dtype == torch.bfloat16
    assert torch.equal(inside, outside)
    assert double.dtype == torch.float64
    wanted = [torch.bfloat16, torch.bfloat16, torch.float32, torch.bfloat16]
    assert [t.dtype for t in mixed] == wanted


class Broken:
    """A kernel that fails when it is launched."""

    def __getitem__(self, grid: Any) -> Any:
        raise RuntimeError("the kernel was reached")


@pytest.mark.parametrize(("device", "backend"), TRITON)
def test_the_triton_backend_reaches_its_kernels(
    device: str, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from segblocks_kernels.ms_deform_attn import triton_backward, triton_forward, triton_sorted

    inputs = CASE.inputs(torch.float32, device)
    value, locations, weights = (t.requires_grad_() for t in inputs)

    def forward(backend: str) -> Tensor:
        return ms_deform_attn(value, CASE.shapes, locations, weights, backend=backend)

    out = forward(backend)
    monkeypatch.setattr(triton_forward, "_forward_kernel", Broken())
    monkeypatch.setattr(triton_backward, "_backward_kernel", Broken())
    with pytest.raises(RuntimeError, match="the kernel was reached"):
        forward(backend)
    with pytest.raises(RuntimeError, match="the kernel was reached"):
        out.sum().backward(retain_graph=True)
    monkeypatch.undo()
    monkeypatch.setattr(triton_sorted, "_sum_by_pixel_kernel", Broken())
    out.sum().backward(retain_graph=True)
    torch.use_deterministic_algorithms(True)
    try:
        with pytest.raises(RuntimeError, match="the kernel was reached"):
            out.sum().backward()
    finally:
        torch.use_deterministic_algorithms(False)


def broken(*arguments: Any) -> Any:
    raise RuntimeError("this path was reached")


@pytest.mark.parametrize(
    ("device", "backend", "path"),
    [
        ("cpu", "reference", "ms_deform_attn_reference"),
        pytest.param("cuda", "reference", "ms_deform_attn_reference", marks=CUDA),
        pytest.param("cpu", "cpp", "forward_cpp", marks=NO_COMPILER),
    ],
)
def test_an_explicit_backend_is_the_one_that_runs(
    monkeypatch: pytest.MonkeyPatch, device: str, backend: str, path: str
) -> None:
    value, locations, weights = CASE.inputs(torch.float32, device)
    monkeypatch.setattr(op, path, broken)
    with pytest.raises(RuntimeError, match="this path was reached"):
        ms_deform_attn(value, CASE.shapes, locations, weights, backend=backend)
    monkeypatch.setenv("SEGBLOCKS_BACKEND", backend)
    with pytest.raises(RuntimeError, match="this path was reached"):
        ms_deform_attn(value, CASE.shapes, locations, weights)


def test_no_compiler_is_a_reason_for_auto_and_an_error_for_cpp(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cpp, "load_library", lambda source: "no C++ compiler here")
    monkeypatch.setattr(cpp, "preview_library", lambda source: ("no C++ compiler here", ""))
    inputs = CASE.inputs(torch.float32)
    chosen, reason = backend_report("cpu")["ms_deform_attn"]
    assert chosen == "reference"
    assert "no C++ compiler here" in reason
    want = ms_deform_attn(inputs[0], CASE.shapes, *inputs[1:], backend="reference")
    assert torch.equal(ms_deform_attn(inputs[0], CASE.shapes, *inputs[1:]), want)
    with pytest.raises(ValueError, match=r"backend 'cpp' cannot run .*no C\+\+ compiler here"):
        ms_deform_attn(inputs[0], CASE.shapes, *inputs[1:], backend="cpp")


def test_triton_on_the_cpu_needs_the_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    value, locations, weights = CASE.inputs(torch.float32)
    monkeypatch.setenv("TRITON_INTERPRET", "0")
    with pytest.raises(ValueError, match="ms_deform_attn: backend 'triton' cannot run"):
        ms_deform_attn(value, CASE.shapes, locations, weights, backend="triton")


def wrong(**changes: Any) -> dict[str, Any]:
    value, locations, weights = CASE.inputs(torch.float32)
    right = {
        "value": value,
        "spatial_shapes": CASE.shapes,
        "sampling_locations": locations,
        "attention_weights": weights,
    }
    return right | {
        name: change(right[name]) if callable(change) else change
        for name, change in changes.items()
    }


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"value": lambda t: t[0]}, r"value must have shape \(B, N, M, D\)"),
        ({"value": lambda t: t[:, 1:]}, "value must have N=30 tokens"),
        ({"value": Tensor.int}, "value must be floating point, got torch.int32"),
        ({"spatial_shapes": torch.tensor([[6, 4], [3, 2]])}, "spatial_shapes .* got a tensor"),
        ({"spatial_shapes": []}, "spatial_shapes must name at least one level"),
        ({"spatial_shapes": [(6, 4), (3, 2, 1)]}, r"spatial_shapes must .* at spatial_shapes\[1\]"),
        ({"spatial_shapes": [(6, 4), (3.0, 2)]}, r"spatial_shapes must .* tuple \(3.0, 2\)"),
        ({"spatial_shapes": [6, 4, 3, 2]}, r"spatial_shapes must .* int 6 at spatial_shapes\[0\]"),
        ({"spatial_shapes": {8: (6, 4), 16: (3, 2)}}, "spatial_shapes must .* got dict"),
        ({"spatial_shapes": 30}, "spatial_shapes must .* got int 30"),
        ({"spatial_shapes": np.array([[6, 4], [3, 2]])}, "spatial_shapes must .* got ndarray"),
        ({"value": lambda t: t.numpy()}, "value must be a torch.Tensor, got ndarray"),
        ({"attention_weights": None}, "attention_weights must be a torch.Tensor, got NoneType"),
        ({"spatial_shapes": [(-6, -4), (3, 2)]}, "spatial_shapes must not be negative"),
        ({"sampling_locations": lambda t: t[:1]}, "sampling_locations must have shape .* B=2"),
        ({"sampling_locations": lambda t: t[:, :, :, :1]}, "sampling_locations .* L=2"),
        ({"sampling_locations": lambda t: t[..., :1]}, "sampling_locations must have shape"),
        ({"sampling_locations": Tensor.long}, "sampling_locations must be floating point"),
        ({"attention_weights": lambda t: t[:, 1:]}, "attention_weights must have shape .* Q=9"),
        ({"attention_weights": lambda t: t[..., 1:]}, "attention_weights must have shape .* P=3"),
        ({"attention_weights": lambda t: t.to("meta")}, "attention_weights on meta"),
        ({"backend": "cuda"}, "backend must be one of auto, triton, cpp, reference, got 'cuda'"),
    ],
)
def test_wrong_arguments_are_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"ms_deform_attn: .*{message}"):
        ms_deform_attn(**wrong(**changes))


def test_a_wrong_environment_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEGBLOCKS_BACKEND", "cudnn")
    with pytest.raises(ValueError, match="SEGBLOCKS_BACKEND must be one of"):
        ms_deform_attn(**wrong())


def test_the_example_in_the_docs_runs() -> None:
    outcome = doctest.testmod(api)
    assert outcome.attempted > 0
    assert outcome.failed == 0


@pytest.mark.skipif(sys.platform != "linux", reason="Triton ships for Linux")
def test_the_kernels_compile_for_hopper(tmp_path: Path) -> None:
    pytest.importorskip("triton")
    figures = compiled_by("deformable_gpu_compile.py", tmp_path)
    single = ["_forward_kernel", "_backward_kernel", "_backward_kernel", "_sum_by_pixel_kernel"]
    # bfloat16 once for both resolutions, with copies of a level; then float64, without.
    copied = [*single[:2], "_fold_kernel", *single[2:]]
    assert [f["kernel"] for f in figures] == copied + single
    assert all(f["loads"] > 0 for f in figures[:5])
    _, atomics, *others = figures[:5]
    assert atomics["adds"] == atomics["vector_adds"] > 0
    assert all(f["adds"] == 0 for f in others)
