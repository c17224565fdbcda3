"""Deformable attention: every implementation against the specification, and the specification."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from segblocks.ops import ms_deform_attn
from segblocks_kernels._backend import interpreter_on
from segblocks_kernels._native import load_library
from segblocks_kernels.ms_deform_attn.cpp import SOURCE
from segblocks_kernels.ms_deform_attn.reference import ms_deform_attn_reference
from segblocks_kernels.ms_deform_attn.reference_backward import grid_sample_backward_indexed
from tests.kernels.deformable_cases import CASES, Case, loop_oracle, relative_error

CUDA = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]
NO_INTERPRETER = pytest.mark.skipif(not interpreter_on(), reason="Triton is not interpreted")
NO_COMPILER = pytest.mark.skipif(isinstance(load_library(SOURCE), str), reason="no C++ compiler")
# Every way to run the operation: (device, backend).
FAST = [
    pytest.param("cpu", "cpp", id="cpp", marks=NO_COMPILER),
    pytest.param("cpu", "triton", id="interpreter", marks=NO_INTERPRETER),
    pytest.param("cuda", "triton", id="cuda", marks=CUDA),
]
ALL = [
    *FAST,
    pytest.param("cpu", "reference", id="reference"),
    pytest.param("cuda", "reference", id="cuda-reference", marks=CUDA),
]
# Relative to the float64 result on the same rounded values: rounding of the output, not of the
# sums. The interpreter cuts bfloat16 off where a GPU rounds, hence its room.
TOLERANCE = {
    torch.float64: 1e-14,
    torch.float32: 1e-6,
    torch.float16: 5e-4,
    torch.bfloat16: 6e-3,
}


@pytest.fixture(autouse=True)
def _poison(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fill uninitialised memory with NaN: reading it, or leaving it unwritten, shows."""

    def poisoned(make):
        def wrapper(*args, **kwargs):
            made = make(*args, **kwargs)
            return made.fill_(float("nan")) if made.is_floating_point() else made

        return wrapper

    for owner, name in (
        (torch, "empty"),
        (torch, "empty_like"),
        (torch.Tensor, "new_empty"),
    ):
        monkeypatch.setattr(owner, name, poisoned(getattr(owner, name)))


def run(
    case: Case, inputs: tuple[Tensor, ...], backend: str, *, grad: Tensor | None = None
) -> list[Tensor]:
    """Output and the three gradients."""
    leaves = [t.detach().requires_grad_() for t in inputs]
    value, locations, weights = leaves
    out = ms_deform_attn(value, case.shapes, locations, weights, backend=backend)
    if grad is None:
        generator = torch.Generator().manual_seed(1)
        grad = torch.randn(out.shape, generator=generator, dtype=torch.float64)
    out.backward(grad.to(out))
    gradients = [leaf.grad for leaf in leaves if leaf.grad is not None]
    assert len(gradients) == 3
    return [out.detach(), *gradients]


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_the_reference_is_the_definition(case: Case) -> None:
    value, locations, weights = case.inputs()
    want = loop_oracle(value.numpy(), case.shapes, locations.numpy(), weights.numpy())
    got = ms_deform_attn_reference(value, case.shapes, locations, weights)
    torch.testing.assert_close(got, torch.from_numpy(want), rtol=1e-12, atol=1e-13)


# Too many calls for the interpreter, which the comparisons below cover.
@pytest.mark.parametrize(("device", "backend"), [path for path in ALL if path.id != "interpreter"])
def test_gradients_are_numerically_right(device: str, backend: str) -> None:
    case = Case(((3, 2), (0, 1), (1, 2)), dim=2, points=2, queries=2)
    leaves = [t.requires_grad_() for t in case.inputs(device=device)]

    def function(value: Tensor, locations: Tensor, weights: Tensor) -> Tensor:
        return ms_deform_attn(value, case.shapes, locations, weights, backend=backend)

    assert torch.autograd.gradcheck(function, leaves, nondet_tol=1e-12)


def test_the_operator_differentiates_as_the_specification() -> None:
    case = CASES["an empty level, D=5, P=4"]
    leaves = [t.requires_grad_() for t in case.inputs()]
    ms_deform_attn_reference(leaves[0], case.shapes, leaves[1], leaves[2]).sum().backward()
    grad = torch.ones(1, 9, 10, dtype=torch.float64)
    got = run(case, tuple(leaves), "reference", grad=grad)[1:]
    for g, leaf in zip(got, leaves, strict=True):
        torch.testing.assert_close(g, leaf.grad, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
@pytest.mark.parametrize(("device", "backend"), FAST)
def test_output_and_gradients(device: str, backend: str, case: Case, dtype: torch.dtype) -> None:
    inputs = case.inputs(dtype, device)
    got = run(case, inputs, backend)
    # The gradient that arrives is rounded to the type of the output: so is the oracle's.
    generator = torch.Generator().manual_seed(1)
    grad = torch.randn(got[0].shape, generator=generator, dtype=torch.float64).to(dtype)
    want = run(case, tuple(t.cpu().double() for t in inputs), "reference", grad=grad)
    for g, w, source in zip(got, want, (inputs[0], *inputs), strict=True):
        assert g.dtype == source.dtype
        assert g.device.type == device
        assert relative_error(g, w) < max(TOLERANCE[g.dtype], 1e-15)


@pytest.mark.parametrize(("device", "backend"), ALL)
def test_half_precision_coordinates_are_computed_in_float32(device: str, backend: str) -> None:
    case = CASES["two levels, D=32, P=3"]
    half = case.inputs(torch.float32, device, coordinates=torch.bfloat16)
    widened = [half[0], half[1].float(), half[2].float()]
    got, want = run(case, half, backend), run(case, tuple(widened), backend)
    torch.testing.assert_close(got[0], want[0], rtol=0, atol=0)
    assert [g.dtype for g in got[1:]] == [t.dtype for t in half]


@pytest.mark.parametrize(("device", "backend"), FAST)
def test_strides_do_not_matter(device: str, backend: str) -> None:
    case = CASES["two levels, D=32, P=3"]
    dense = case.inputs(torch.float32, device)
    want = run(case, dense, backend)
    padded = tuple(torch.stack([t, torch.full_like(t, torch.nan)], -1)[..., 0] for t in dense)
    permuted = tuple(t.transpose(0, 1).contiguous().transpose(0, 1) for t in dense)
    for strided in (padded, permuted):
        assert not strided[0].is_contiguous()
        got = run(case, strided, backend, grad=None)
        for g, w in zip(got, want, strict=True):
            torch.testing.assert_close(g, w, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("device", "backend"), FAST)
def test_an_expanded_gradient_is_read_right(device: str, backend: str) -> None:
    case = CASES["one level, D=24, P=1"]
    inputs = case.inputs(torch.float32, device)
    ones = torch.ones((), device=device).expand(case.batch, case.queries, case.heads * case.dim)
    got, want = run(case, inputs, backend, grad=ones), run(case, inputs, "reference", grad=ones)
    for g, w in zip(got, want, strict=True):
        assert relative_error(g, w) < 1e-6


@pytest.mark.parametrize("wanted", [(0,), (1,), (2,), (0, 2), (1, 2)], ids=str)
@pytest.mark.parametrize(("device", "backend"), ALL)
def test_only_the_gradients_asked_for(device: str, backend: str, wanted: tuple[int, ...]) -> None:
    case = CASES["one level, D=24, P=1"]
    inputs = case.inputs(torch.float32, device)
    leaves = [t.requires_grad_(i in wanted) for i, t in enumerate(inputs)]
    ms_deform_attn(leaves[0], case.shapes, leaves[1], leaves[2], backend=backend).sum().backward()
    grad = torch.ones(case.batch, case.queries, case.heads * case.dim)
    want = run(case, tuple(t.detach() for t in inputs), "reference", grad=grad)[1:]
    for i, leaf in enumerate(leaves):
        if i in wanted:
            assert leaf.grad is not None
            assert relative_error(leaf.grad, want[i]) < 1e-6
        else:
            assert leaf.grad is None


@pytest.mark.parametrize(("device", "backend"), ALL)
def test_points_far_outside_count_as_zero(device: str, backend: str) -> None:
    case = CASES["one level, D=24, P=1"]
    value, locations, weights = case.inputs(torch.float32, device)
    far = torch.where(locations > 0.5, 1e30, -torch.inf)
    out = ms_deform_attn(value, case.shapes, far, weights, backend=backend)
    assert out.count_nonzero() == 0
    assert torch.isfinite(out).all()


@pytest.mark.parametrize("deterministic", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(("device", "backend"), FAST)
def test_nan_spreads_as_in_the_reference(
    device: str, backend: str, dtype: torch.dtype, deterministic: bool
) -> None:
    case = Case(((4, 5), (0, 3), (2, 2)), dim=20, points=2, queries=70, batch=1)
    value, locations, weights = case.inputs(dtype, device)
    locations[0, 1, 0, 0, 1, 0] = torch.nan
    locations[0, 1, 1, 2, 0, 1] = torch.nan
    locations[0, 66, 1, 0, 0] = torch.nan
    locations[0, 3, 0, 0, 0] = torch.tensor([torch.nan, 7.0])  # and outside
    locations[0, 5, 0, 1] = torch.nan  # of a level without pixels
    locations[0, 6, 0, 1] = torch.inf
    want = run(case, (value.cpu(), locations.cpu(), weights.cpu()), "reference")
    torch.use_deterministic_algorithms(deterministic)
    try:
        got = run(case, (value, locations, weights), backend)
    finally:
        torch.use_deterministic_algorithms(False)
    assert want[0].isnan().sum() == 4 * case.dim
    assert not want[1].isnan().any()
    assert want[3].isnan().sum() == 4
    for g, w in zip(got, want, strict=True):
        assert torch.equal(g.isnan().cpu(), w.isnan())
        torch.testing.assert_close(g.cpu(), w, rtol=1e-4, atol=1e-5, equal_nan=True)


@pytest.mark.parametrize(("device", "backend"), ALL)
def test_nothing_to_do(device: str, backend: str) -> None:
    for case in (
        Case(((2, 3),), dim=4, points=2, queries=0),
        Case(((2, 3),), dim=4, points=2, batch=0),
        Case(((0, 3), (2, 0)), dim=4, points=2),
    ):
        out, *grads = run(case, case.inputs(torch.float32, device), backend)
        assert out.shape == (case.batch, case.queries, 8)
        assert all(t.count_nonzero() == 0 for t in (out, *grads))


@pytest.mark.parametrize(("device", "backend"), ALL)
def test_the_deterministic_backward(device: str, backend: str) -> None:
    # Many samples for few pixels: the case in which the order of atomics shows.
    many = device == "cuda"
    case = Case(((2, 4), (2, 1)), dim=32, points=3, queries=5000 if many else 20)
    inputs = case.inputs(torch.float32, device)
    want = run(case, tuple(t.cpu().double() for t in inputs), "reference")
    torch.use_deterministic_algorithms(True)
    try:
        first, again = run(case, inputs, backend), run(case, inputs, backend)
    finally:
        torch.use_deterministic_algorithms(False)
    for f, a, w in zip(first, again, want, strict=True):
        assert torch.equal(f, a)
        assert relative_error(f, w) < 2e-6


def test_the_indexed_backward_is_that_of_grid_sample() -> None:
    generator = torch.Generator().manual_seed(0)
    grad, level, grid = (
        torch.randn(shape, generator=generator, dtype=torch.float64)
        for shape in ((2, 3, 20, 4), (2, 3, 5, 7), (2, 20, 4, 2))
    )
    want = torch.ops.aten.grid_sampler_2d_backward(grad, level, grid, 0, 0, False, (True, True))
    for g, w in zip(grid_sample_backward_indexed(grad, level, grid), want, strict=True):
        torch.testing.assert_close(g, w, rtol=1e-12, atol=1e-13)


@NO_COMPILER
def test_the_number_of_threads_changes_nothing() -> None:
    case = Case(((30, 40), (8, 8)), dim=36, points=4, queries=300, batch=1, heads=3)
    inputs = case.inputs(torch.float32)
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            results.append(run(case, inputs, "cpp"))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


@NO_COMPILER
@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    shapes=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=4),
    dim=st.integers(1, 70),
    points=st.integers(1, 5),
    queries=st.integers(0, 130),
)
def test_any_size_on_the_cpu(
    shapes: list[tuple[int, int]], dim: int, points: int, queries: int
) -> None:
    case = Case(tuple(shapes), dim=dim, points=points, queries=queries, batch=1)
    inputs = case.inputs()
    for g, w in zip(run(case, inputs, "cpp"), run(case, inputs, "reference"), strict=True):
        torch.testing.assert_close(g, w, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("batch", [1, 3], ids=["in one element", "over the batch"])
@NO_INTERPRETER
def test_offsets_beyond_31_bits_without_a_gpu(batch: int) -> None:
    # 3 elements of 2^30 numbers, or one of 2^31: memory of which only the touched pages exist.
    heads, dim, width, rows = 8, 64, 2048, 3
    height = (2**31 if batch == 1 else 2**30) // (heads * dim * width) + rows
    case = Case(((rows, width),), dim=dim, points=1, queries=3, batch=batch, heads=heads)
    value, locations, weights = case.inputs(torch.bfloat16)
    locations[..., 1] = locations[..., 1].clamp(0.4, 0.9)
    sizes = (batch, height * width, heads, dim)
    full = torch.UntypedStorage(2 * batch * height * width * heads * dim)
    full = torch.tensor([], dtype=torch.bfloat16).set_(full).view(sizes)
    assert full.numel() > 2**31
    moved = locations.clone()
    moved[..., 1] = (height - rows + locations[..., 1] * rows) / height
    for element in range(batch):
        full[element, -rows * width :] = value[element]
    large = Case(((height, width),), dim=dim, points=1, queries=3, batch=batch, heads=heads)

    def results(case: Case, value: Tensor, locations: Tensor) -> list[Tensor]:
        leaves = [locations.detach().requires_grad_(), weights.detach().requires_grad_()]
        out = ms_deform_attn(value, case.shapes, *leaves, backend="triton")
        return [out.detach(), *torch.autograd.grad(out.float().sum(), leaves)]

    got, want = results(large, full, moved), results(case, value, locations)
    # float32 rows near 2000 are known to 1e-4 pixels, and their slopes are a height apart.
    assert relative_error(got[0], want[0]) < 1e-2
    assert relative_error(got[1][..., 0], want[1][..., 0]) < 1e-2
    assert relative_error(got[2], want[2]) < 1e-2


@pytest.mark.gpu
@pytest.mark.slow
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_offsets_beyond_31_bits() -> None:
    height = width = 2900
    heads, dim, rows = 8, 32, 4
    assert height * width * heads * dim > 2**31
    small = Case(((rows, width),), dim=dim, points=4, queries=64, batch=1, heads=heads)
    value, locations, weights = small.inputs(torch.bfloat16, "cuda")
    # Only the last rows are sampled, so their crop is the whole truth.
    locations[..., 1].clamp_(0.4, 0.9)
    want = run(small, (value, locations, weights), "reference")
    full = value.new_zeros((1, height * width, heads, dim))
    full[:, -rows * width :] = value
    moved = locations.clone()
    moved[..., 1] = (height - rows + locations[..., 1] * rows) / height
    large = Case(((height, width),), dim=dim, points=4, queries=64, batch=1, heads=heads)
    got = run(large, (full, moved, weights), "triton")
    # float32 rows near 2900 are known to 2e-4 pixels.
    assert relative_error(got[0], want[0]) < 1e-2
    assert relative_error(got[1][:, -rows * width :], want[1]) < 1e-2
    assert got[1][:, : -rows * width].count_nonzero() == 0
    assert relative_error(got[3], want[3]) < 1e-2
