from __future__ import annotations

import importlib

import numpy as np
import pytest
import torch

from segblocks_kernels import backend_report, space_time_attention
from tests.kernels.space_time_cases import (
    CASES,
    DEVICES,
    Case,
    call,
    call_operator,
    make_qkv,
    with_grads,
)

OP = torch.ops.segblocks.space_time_attention.default


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("layout", ["contiguous", "packed", "permuted"])
@pytest.mark.parametrize("backend", ["reference", "triton"])
def test_opcheck(backend, layout, device):
    case = Case(1, 2, [(2, 2), (2, 3)], [None, 2], 1, 16)
    leaves = [x.requires_grad_() for x in make_qkv(case, layout, torch.float32, device)]
    levels = ([2, 2, 2, 3], [0, 2], 0.25)
    torch.library.opcheck(OP, (*leaves, *levels, backend))
    qkv = [x.detach() for x in leaves]
    out, lse = OP(*qkv, *levels, backend)
    for needs in ([True, True, True], [True, False, False], [False, False, True]):
        torch.library.opcheck(
            torch.ops.segblocks.space_time_attention_backward.default,
            (torch.ones_like(out), *qkv, out, lse, *levels, needs, backend),
        )


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("backend", ["reference", "triton"])
def test_compiles_whole(backend, device):
    case = CASES["level_out"]
    qkv = make_qkv(case, "packed", torch.float32, device)
    weight = torch.randn_like(qkv[0])
    torch._dynamo.reset()  # what other sizes left makes these dynamic
    compiled = torch.compile(space_time_attention, fullgraph=True, backend="aot_eager")
    leaves = [x.detach().requires_grad_() for x in qkv]
    out = compiled(*leaves, case.shapes, case.cells, backend=backend)
    got = [out, *torch.autograd.grad(out, leaves, weight)]
    for a, b in zip(got, with_grads(case, qkv, weight, backend=backend), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)


def test_exports_for_any_number_of_frames():
    case = CASES["ragged"]

    class Module(torch.nn.Module):
        def forward(self, q, k, v):
            return space_time_attention(q, k, v, case.shapes, case.cells)

    qkv = make_qkv(case._replace(frames=3), "contiguous", torch.float32)
    frames = torch.export.Dim("frames", min=2, max=64)
    exported = torch.export.export(Module(), tuple(qkv), dynamic_shapes=[{1: frames}] * 3)
    targets = {node.target for node in exported.graph.nodes}
    assert OP in targets  # not the backend of the machine that exported
    other = make_qkv(case._replace(frames=4), "contiguous", torch.float32)
    torch.testing.assert_close(exported.module()(*other), call(case, other))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("backend", ["reference", "triton"])
def test_autocast_casts_like_the_caller(backend, device):
    case = CASES["level_out"]
    qkv = make_qkv(case, "contiguous", torch.float32, device)
    for dtype in (torch.bfloat16, torch.float16):
        with torch.autocast(device, dtype):
            got = call(case, qkv, backend=backend)
        assert got.dtype == dtype
        assert torch.equal(got, call(case, [x.to(dtype) for x in qkv], backend=backend))


def test_the_reference_backward_ignores_autocast():
    case = CASES["ragged"]
    leaves = [x.requires_grad_() for x in make_qkv(case, "contiguous", torch.float32)]
    out = call_operator(case, leaves, "reference")
    want = torch.autograd.grad(out.sum(), leaves, retain_graph=True)
    with torch.autocast("cpu", torch.bfloat16):
        got = torch.autograd.grad(out.sum(), leaves)
    assert all(map(torch.equal, got, want))


class _Broken:
    def __getitem__(self, grid):
        raise RuntimeError("broken on purpose")


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    ("module", "kernel", "dtype"),
    [
        ("triton_forward", "forward_kernel", torch.float32),
        ("triton_forward", "resident_kernel", torch.bfloat16),
        ("triton_backward", "query_kernel", torch.float32),
        ("triton_backward", "key_kernel", torch.float32),
    ],
)
def test_triton_reaches_its_kernels(monkeypatch, module, kernel, dtype, device):
    case = CASES["ragged"]
    qkv = make_qkv(case, "contiguous", dtype, device)
    weight = torch.ones_like(qkv[0])
    # By name, since the package exports the function under the name of the folder.
    module = importlib.import_module(f"segblocks_kernels.space_time_attention.{module}")
    monkeypatch.setattr(module, kernel, _Broken())
    with pytest.raises(RuntimeError, match="broken on purpose"):
        with_grads(case, qkv, weight, backend="triton")
    with_grads(case, qkv, weight, backend="reference")


def test_explicit_triton_never_falls_back(monkeypatch):
    case = CASES["one_token"]
    qkv = make_qkv(case, "contiguous", torch.float32)
    with pytest.raises(ValueError, match="float64"):
        call(case, [x.double() for x in qkv], backend="triton")
    wide = case._replace(dim=257)
    with pytest.raises(ValueError, match="at most D=256"):
        call(wide, make_qkv(wide, "contiguous", torch.float32), backend="triton")
    with pytest.raises(ValueError, match=r"positive scale, got -0\.5"):
        call(case, qkv, scale=-0.5, backend="triton")
    monkeypatch.setenv("TRITON_INTERPRET", "0")
    with pytest.raises(ValueError, match="TRITON_INTERPRET"):
        call(case, qkv, backend="triton")
    monkeypatch.setenv("SEGBLOCKS_BACKEND", "triton")
    with pytest.raises(ValueError, match="TRITON_INTERPRET"):
        call(case, qkv)


def test_backend_report():
    assert backend_report("cpu")["space_time_attention"][0] == "reference"
    assert backend_report("cuda")["space_time_attention"][0] == "triton"


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"q": torch.zeros(1, 2, 10, 16)}, r"q must have shape \(B, T, N, M, D\)"),
        ({"k": torch.zeros(1, 2, 9, 1, 16)}, r"k must have shape .* with .*N=10"),
        ({"v": torch.zeros(1, 2, 10, 2, 16)}, r"v must have shape .* with .*M=1"),
        ({"q": torch.zeros(1, 2, 10, 1, 16).int()}, "q must be floating point"),
        ({"k": torch.zeros(1, 2, 10, 1, 16).half()}, "same dtype"),
        ({"v": torch.zeros(1, 2, 10, 1, 16, device="meta")}, "same device"),
        ({"spatial_shapes": [(2, 2), (2, 4)]}, "q must have N=12 tokens"),
        ({"spatial_shapes": [(2, 2), (6,)]}, r"pairs of ints, got tuple .* at spatial_shapes\[1\]"),
        ({"spatial_shapes": [(-2, -2), (2, 3)]}, r"not be negative, .* at spatial_shapes\[0\]"),
        ({"spatial_shapes": []}, "spatial_shapes must name at least one level"),
        ({"spatial_shapes": [(2.0, 2.0), (2, 3)]}, r"spatial_shapes must .* \(2.0, 2.0\)"),
        ({"spatial_shapes": [2, 2, 2, 3]}, r"spatial_shapes must .* int 2 at spatial_shapes\[0\]"),
        ({"spatial_shapes": {8: (2, 2), 16: (2, 3)}}, "spatial_shapes must .* got dict"),
        ({"spatial_shapes": 10}, "spatial_shapes must .* got int 10"),
        ({"spatial_shapes": None}, "spatial_shapes must .* got NoneType"),
        (
            {"spatial_shapes": [1, None], "cell_sizes": [(2, 2), (2, 3)]},
            "spatial_shapes must .* got int 1",
        ),
        ({"cell_sizes": [(1, 1), None]}, r"cell_sizes must .* tuple \(1, 1\) at cell_sizes\[0\]"),
        ({"cell_sizes": [1.0, None]}, "cell_sizes must .* got float 1.0"),
        ({"cell_sizes": {8: 1, 16: None}}, "cell_sizes must .* got dict"),
        ({"cell_sizes": 1}, "cell_sizes must .* got int 1"),
        ({"cell_sizes": torch.tensor([1, 1])}, "cell_sizes must .* got a tensor"),
        ({"k": np.zeros((1, 2, 10, 1, 16))}, "k must be a torch.Tensor, got ndarray"),
        ({"spatial_shapes": torch.tensor([[2, 2], [2, 3]])}, "spatial_shapes .* got a tensor"),
        ({"cell_sizes": [2]}, "cell_sizes must have one entry a level"),
        ({"cell_sizes": [None, None]}, "cell_sizes .* got all None"),
        ({"cell_sizes": [2, 0]}, r"cell_sizes\[1\] must be positive or None, got 0"),
        ({"cell_sizes": [2, 2]}, "same grid of cells, got 1x1 at level 0, 1x2 at level 1"),
        ({"backend": "cuda"}, "backend must be one of auto, triton, reference, got 'cuda'"),
    ],
)
def test_wrong_arguments_are_named(change, match):
    arguments = {name: torch.zeros(1, 2, 10, 1, 16) for name in "qkv"}
    arguments |= {"spatial_shapes": [(2, 2), (2, 3)], "cell_sizes": [1, None]}
    space_time_attention(**arguments)
    with pytest.raises(ValueError, match=match):
        space_time_attention(**(arguments | change))
