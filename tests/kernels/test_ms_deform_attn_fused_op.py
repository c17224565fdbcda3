"""Fused deformable attention as PyTorch sees it: operators, compilation, backends, errors."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from segblocks.ops import ms_deform_attn_fused
from segblocks_kernels import backend_report
from segblocks_kernels._backend import interpreter_on
from segblocks_kernels._native import load_library
from segblocks_kernels.ms_deform_attn import cpp, triton_sorted
from segblocks_kernels.ms_deform_attn_fused import op
from tests.kernels.absent_gpu import compiled_by
from tests.kernels.fused_deformable_cases import FORMS, FusedCase

CASE = FusedCase(((3, 4), (2, 1)), dim=4, points=2, heads=1)
POINTS = FusedCase(((3, 4), (2, 1)), dim=4, points=2, heads=1, form="Q")
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

    def forward(
        self, value: Tensor, points: Tensor | None, offsets: Tensor, logits: Tensor
    ) -> Tensor:
        return ms_deform_attn_fused(value, CASE.shapes, points, offsets, logits)


@pytest.mark.parametrize("form", ["tokens", "BQL"])
@pytest.mark.parametrize(("device", "backend"), PATHS)
def test_opcheck(device: str, backend: str, form: str) -> None:
    case = FusedCase(((2, 3), (0, 2)), dim=4, points=2, queries=3, heads=1, form=form)
    leaves = [t if t is None else t.requires_grad_() for t in case.inputs(torch.float32, device)]
    arguments = (leaves[0], [2, 3, 0, 2], *leaves[1:], backend)
    torch.library.opcheck(torch.ops.segblocks.ms_deform_attn_fused.default, arguments)
    value, points, offsets, logits = (t if t is None else t.detach() for t in leaves)
    grad = torch.randn(2, offsets.shape[1], 4, device=device)
    for needs in ([True, points is not None, True, True], [False, False, False, True]):
        torch.library.opcheck(
            torch.ops.segblocks.ms_deform_attn_fused_backward.default,
            (grad, value, [2, 3, 0, 2], points, offsets, logits, needs, backend),
            test_utils=("test_schema", "test_faketensor"),
        )


def gradients(function: Any, inputs: tuple[Tensor | None, ...]) -> list[Tensor]:
    leaves = [t if t is None else t.detach().requires_grad_() for t in inputs]
    out = function(*leaves)
    given = [t for t in leaves if t is not None]
    return [out.detach(), *torch.autograd.grad(out.square().sum(), given)]


@pytest.mark.parametrize(
    ("compiler", "case"),
    [("aot_eager", CASE), ("aot_eager", POINTS), ("inductor", POINTS)],
    ids=["aot_eager-tokens", "aot_eager-points", "inductor-points"],
)
@pytest.mark.parametrize("device", DEVICES)
def test_compiles_without_a_break(compiler: str, device: str, case: FusedCase) -> None:
    torch._dynamo.reset()
    layer = Layer()
    inputs = case.inputs(torch.float32, device)
    compiled = torch.compile(layer, fullgraph=True, backend=compiler)
    for g, w in zip(gradients(compiled, inputs), gradients(layer, inputs), strict=True):
        torch.testing.assert_close(g, w, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("device", DEVICES)
def test_exports_with_dynamic_sizes_and_an_open_backend(device: str) -> None:
    batch, queries = torch.export.Dim("batch"), torch.export.Dim("queries")
    inputs = POINTS.inputs(torch.float32, device)
    sizes = ({0: batch}, {0: queries}, *[{0: batch, 1: queries}] * 2)
    program = torch.export.export(Layer(), inputs, dynamic_shapes=sizes)
    target = torch.ops.segblocks.ms_deform_attn_fused.default
    assert [n.args[-1] for n in program.graph.nodes if n.target is target] == ["auto"]
    case = FusedCase(CASE.shapes, CASE.dim, 2, form="Q", queries=4, batch=3, heads=1)
    other = case.inputs(torch.float32, device)
    torch.testing.assert_close(program.module()(*other), Layer()(*other))


@pytest.mark.parametrize(("device", "backend"), PATHS)
def test_autocast_touches_neither_coordinates_nor_sums(device: str, backend: str) -> None:
    inputs = POINTS.inputs(torch.bfloat16, device)

    def function(value: Tensor, *others: Tensor | None) -> Tensor:
        return ms_deform_attn_fused(value, CASE.shapes, *others, backend=backend)

    outside = gradients(function, inputs)
    with torch.autocast(device, torch.bfloat16):
        inside = gradients(function, inputs)
    assert [t.dtype for t in inside] == [torch.bfloat16] * 2 + [torch.float32] * 3
    for i, o in zip(inside, outside, strict=True):
        torch.testing.assert_close(i, o)


class Broken:
    """A kernel that fails when it is launched."""

    def __getitem__(self, grid: Any) -> Any:
        raise RuntimeError("the kernel was reached")


@pytest.mark.parametrize(("device", "backend"), TRITON)
def test_the_triton_backend_reaches_its_kernels(
    device: str, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from segblocks_kernels.ms_deform_attn_fused import triton_backward, triton_forward

    value, _, offsets, logits = CASE.inputs(torch.float32, device)
    value.requires_grad_()

    def forward(backend: str) -> Tensor:
        return ms_deform_attn_fused(value, CASE.shapes, None, offsets, logits, backend=backend)

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
    ("backend", "path"),
    [
        ("reference", "ms_deform_attn_fused_reference"),
        pytest.param("cpp", "forward_cpp", marks=NO_COMPILER),
    ],
)
def test_an_explicit_backend_is_the_one_that_runs(
    monkeypatch: pytest.MonkeyPatch, backend: str, path: str
) -> None:
    value, *others = CASE.inputs(torch.float32)
    monkeypatch.setattr(op, path, broken)
    with pytest.raises(RuntimeError, match="this path was reached"):
        ms_deform_attn_fused(value, CASE.shapes, *others, backend=backend)
    monkeypatch.setenv("SEGBLOCKS_BACKEND", backend)
    with pytest.raises(RuntimeError, match="this path was reached"):
        ms_deform_attn_fused(value, CASE.shapes, *others)


def test_no_compiler_is_a_reason_for_auto_and_an_error_for_cpp(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cpp, "load_library", lambda source: "no C++ compiler here")
    monkeypatch.setattr(cpp, "preview_library", lambda source: ("no C++ compiler here", ""))
    chosen, reason = backend_report("cpu")["ms_deform_attn_fused"]
    assert chosen == "reference"
    assert "no C++ compiler here" in reason
    value, *others = CASE.inputs(torch.float32)
    want = ms_deform_attn_fused(value, CASE.shapes, *others, backend="reference")
    assert torch.equal(ms_deform_attn_fused(value, CASE.shapes, *others), want)
    with pytest.raises(ValueError, match=r"backend 'cpp' cannot run .*no C\+\+ compiler here"):
        ms_deform_attn_fused(value, CASE.shapes, *others, backend="cpp")


def test_triton_on_the_cpu_needs_the_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    value, *others = CASE.inputs(torch.float32)
    monkeypatch.setenv("TRITON_INTERPRET", "0")
    with pytest.raises(ValueError, match="ms_deform_attn_fused: backend 'triton' cannot run"):
        ms_deform_attn_fused(value, CASE.shapes, *others, backend="triton")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"value": lambda t: t[0]}, r"value must have shape \(B, N, M, D\)"),
        ({"value": lambda t: t[:, 1:]}, "value must have N=14 tokens"),
        ({"spatial_shapes": torch.tensor([[3, 4], [2, 1]])}, "spatial_shapes .* got a tensor"),
        ({"reference_points": 0.5}, "reference_points must be a torch.Tensor, got float 0.5"),
        ({"reference_points": Tensor.long}, "reference_points must be floating point"),
        ({"reference_points": lambda t: t[0]}, r"reference_points must have shape \(Q, 2\), \(B"),
        ({"reference_points": lambda t: t[1:]}, r"reference_points must have shape .* Q=9, got"),
        ({"reference_points": lambda t: t[None]}, "reference_points must have shape .* B=2"),
        ({"reference_points": None}, "offsets must have a query for each of the N=14 tokens"),
        ({"offsets": lambda t: t[:, :, :, :1]}, "offsets must have shape .* L=2"),
        ({"offsets": lambda t: t[..., :1]}, "offsets must have shape"),
        ({"offsets": None}, "offsets must be a torch.Tensor, got NoneType"),
        ({"logits": lambda t: t[:, 1:]}, "logits must have shape .* Q=9"),
        ({"logits": lambda t: t[..., 1:]}, "logits must have shape .* P=2"),
        ({"logits": lambda t: t[..., 0]}, r"logits must have shape .* L\*P=4"),
        ({"logits": lambda t: t.to("meta")}, "logits on meta"),
        ({"backend": "cuda"}, "backend must be one of auto, triton, cpp, reference, got 'cuda'"),
    ],
)
def test_wrong_arguments_are_named(changes: dict[str, Any], message: str) -> None:
    value, points, offsets, logits = POINTS.inputs(torch.float32)
    arguments = {
        "value": value,
        "spatial_shapes": POINTS.shapes,
        "reference_points": points,
        "offsets": offsets,
        "logits": logits,
    }
    for name, change in changes.items():
        arguments[name] = change(arguments[name]) if callable(change) else change
    with pytest.raises(ValueError, match=f"ms_deform_attn_fused: .*{message}"):
        ms_deform_attn_fused(**arguments)


@pytest.mark.parametrize("form", FORMS)
def test_logits_may_come_flat(form: str) -> None:
    case = FusedCase(CASE.shapes, CASE.dim, 2, form=form)
    value, points, offsets, logits = case.inputs(torch.float32)
    want = ms_deform_attn_fused(value, case.shapes, points, offsets, logits)
    got = ms_deform_attn_fused(value, case.shapes, points, offsets, logits.flatten(-2))
    assert torch.equal(got, want)


@pytest.mark.skipif(sys.platform != "linux", reason="Triton ships for Linux")
def test_the_kernels_compile_for_hopper(tmp_path: Path) -> None:
    pytest.importorskip("triton")
    figures = compiled_by("fused_deformable_gpu_compile.py", tmp_path)
    # Once for both resolutions, with tokens as queries, and with reference points and copies.
    kernels = ["_forward_kernel", "_backward_kernel"]
    assert [f["kernel"] for f in figures] == [*kernels, *kernels, "_fold_kernel"]
    assert all(f["loads"] > 0 for f in figures)
    for backward in (figures[1], figures[3]):
        assert backward["adds"] == backward["vector_adds"] > 0
