from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from segblocks_kernels import space_time_attention
from tests.kernels.space_time_cases import CASES, DEVICES, Case, call, error_ratio, make_qkv

OP = torch.ops.segblocks.space_time_attention.default
NAMES = ("out", "dq", "dk", "dv", "dq_position", "dk_position")


def make_positions(case: Case, dtype: torch.dtype, device: str = "cpu") -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    # Slices of one packed projection, as for queries and keys.
    sizes = (case.frames, case.tokens, 2, case.heads, case.dim)
    packed = torch.randn(sizes, generator=generator, dtype=torch.float64)
    return list(packed.to(device, dtype).unbind(2))


def with_grads(case: Case, inputs: list[Tensor], weight: Tensor, backend: str) -> list[Tensor]:
    """Output and gradients of q, k, v and the two positions, added inside."""
    leaves = [x.detach().requires_grad_() for x in inputs]
    out = call(case, leaves[:3], qk_position=(leaves[3], leaves[4]), backend=backend)
    return [out.detach(), *torch.autograd.grad(out, leaves, weight.to(out))]


def added_outside(case: Case, inputs: list[Tensor], weight: Tensor) -> list[Tensor]:
    leaves = [x.detach().requires_grad_() for x in inputs]
    q, k, v, q_position, k_position = leaves
    out = call(case, [q + q_position, k + k_position, v], backend="reference")
    return [out.detach(), *torch.autograd.grad(out, leaves, weight.to(out))]


def make_inputs(case: Case, dtype: torch.dtype, device: str = "cpu") -> tuple[list[Tensor], Tensor]:
    inputs = make_qkv(case, "packed", dtype, device) + make_positions(case, dtype, device)
    generator = torch.Generator(device).manual_seed(0)
    weight = torch.randn(inputs[0].shape, dtype=torch.float64, device=device, generator=generator)
    return inputs, weight.to(dtype)


@pytest.mark.parametrize("name", ["ragged", "level_out"])
def test_the_reference_adds_them(name):
    inputs, weight = make_inputs(CASES[name], torch.float64)
    got = with_grads(CASES[name], inputs, weight, "reference")
    for a, b in zip(got, added_outside(CASES[name], inputs, weight), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("device", DEVICES)
# The interpreter cuts off where a GPU rounds to bfloat16.
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 2e-6), (torch.bfloat16, 2e-2)])
@pytest.mark.parametrize("name", ["ragged", "more_slots_than_a_tile"])
def test_triton_adds_them(name, dtype, bound, device):
    case = CASES[name]
    inputs, weight = make_inputs(case, dtype, device)
    got = with_grads(case, inputs, weight, "triton")
    want = added_outside(case, [x.double() for x in inputs], weight)
    for part, a, b in zip(NAMES, got, want, strict=True):
        assert a.dtype == dtype
        assert error_ratio(a, b) < bound, part


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("backend", ["reference", "triton"])
@pytest.mark.parametrize("wanted", [(3,), (4,), (0, 4)], ids=str)
def test_only_the_gradients_asked_for(wanted, backend, device):
    case = CASES["ragged"]
    inputs, weight = make_inputs(case, torch.float32, device)
    want = with_grads(case, inputs, weight, "reference")[1:]
    q, k, v, *positions = (x.detach().requires_grad_(i in wanted) for i, x in enumerate(inputs))
    shapes = [size for shape in case.shapes for size in shape]
    OP(q, k, v, shapes, case.cells, case.dim**-0.5, backend, *positions)[0].backward(weight)
    for i, leaf in enumerate((q, k, v, *positions)):
        if i in wanted:
            assert error_ratio(leaf.grad, want[i]) < 1e-5
        else:
            assert leaf.grad is None


@st.composite
def cases(draw):
    rows, columns = draw(st.integers(1, 2)), draw(st.integers(1, 2))
    cells = draw(st.lists(st.integers(1, 3), min_size=1, max_size=3))
    shapes = [
        tuple(count * cell - draw(st.integers(0, cell - 1)) for count in (rows, columns))
        for cell in cells
    ]
    return Case(draw(st.integers(1, 2)), draw(st.integers(1, 2)), shapes, cells, 1, 16)


@pytest.mark.parametrize("device", DEVICES)
@settings(max_examples=4, deadline=None)
@given(case=cases(), dtype=st.sampled_from([torch.float32, torch.float16]))
def test_any_grid(case, dtype, device):
    inputs, weight = make_inputs(case, dtype, device)
    got = with_grads(case, inputs, weight, "triton")
    want = added_outside(case, [x.double() for x in inputs], weight)
    bound = 1e-5 if dtype == torch.float32 else 5e-3
    for part, a, b in zip(NAMES, got, want, strict=True):
        scale = max(float(b.norm()), float(want[3].norm()) * 1e-2)
        assert float((a.double() - b).norm()) < bound * scale, part


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("backend", ["reference", "triton"])
def test_opcheck(backend, device):
    case = Case(2, 1, [(2, 2)], [2], 1, 16)
    inputs, _ = make_inputs(case, torch.float32, device)
    q, k, v, *positions = (x.requires_grad_() for x in inputs)
    torch.library.opcheck(OP, (q, k, v, [2, 2], [2], 0.25, backend, *positions))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("backend", ["reference", "triton"])
def test_compiles_whole(backend, device):
    case = CASES["ragged"]
    inputs, weight = make_inputs(case, torch.float32, device)
    torch._dynamo.reset()  # what other sizes left makes these dynamic
    compiled = torch.compile(space_time_attention, fullgraph=True, backend="aot_eager")
    q, k, v, *positions = leaves = [x.detach().requires_grad_() for x in inputs]
    out = compiled(q, k, v, case.shapes, case.cells, qk_position=tuple(positions), backend=backend)
    got = [out, *torch.autograd.grad(out, leaves, weight)]
    for a, b in zip(got, with_grads(case, inputs, weight, backend), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)


def test_exports():
    case = CASES["ragged"]
    inputs, _ = make_inputs(case, torch.float32)

    class Module(torch.nn.Module):
        def forward(self, q, k, v, *positions):
            return call(case, [q, k, v], qk_position=positions)

    exported = torch.export.export(Module(), tuple(inputs))
    assert OP in {node.target for node in exported.graph.nodes}
    torch.testing.assert_close(exported.module()(*inputs), Module()(*inputs))


def test_autocast_casts_them():
    case = CASES["ragged"]
    inputs, _ = make_inputs(case, torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        got = call(case, inputs[:3], qk_position=tuple(inputs[3:]))
    half = [x.bfloat16() for x in inputs]
    assert torch.equal(got, call(case, half[:3], qk_position=tuple(half[3:])))


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda p: p[0], "qk_position must be a pair of tensors or None, got Tensor"),
        (lambda p: p[:1], "qk_position must be a pair of tensors or None, got list"),
        (lambda p: (p[0], None), r"qk_position\[1\] must be a torch.Tensor, got NoneType"),
        (lambda p: (p[0].half(), p[1]), r"q, qk_position\[0\] must have the same dtype"),
        (lambda p: (p[0], p[1].to("meta")), r"q, qk_position\[1\] must be on the same device"),
        (lambda p: (p[0][:, 1:], p[1]), r"qk_position\[0\] must have shape \(T, N, M, D\) with"),
        (lambda p: (p[0], p[1][None]), r"qk_position\[1\] must have shape"),
    ],
)
def test_wrong_arguments_are_named(change, match):
    inputs, _ = make_inputs(CASES["ragged"], torch.float32)
    with pytest.raises(ValueError, match=match):
        call(CASES["ragged"], inputs[:3], qk_position=change(inputs[3:]))
