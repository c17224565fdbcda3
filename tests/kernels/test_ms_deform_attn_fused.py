"""Fused deformable attention: every implementation against the specification, and that itself."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from segblocks.ops import ms_deform_attn, ms_deform_attn_fused
from segblocks_kernels._backend import interpreter_on
from segblocks_kernels._native import load_library
from segblocks_kernels.ms_deform_attn.cpp import SOURCE
from segblocks_kernels.ms_deform_attn_fused.reference import (
    ms_deform_attn_fused_reference,
    sampling_locations,
)
from tests.kernels.deformable_cases import relative_error
from tests.kernels.fused_deformable_cases import CASES, FORMS, FusedCase, fused_oracle

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
# Relative to the float64 result on the same rounded values. The interpreter cuts bfloat16 off
# where a GPU rounds, hence its room.
TOLERANCE = {
    torch.float64: 1e-14,
    torch.float32: 1e-6,
    torch.float16: 5e-4,
    torch.bfloat16: 3e-3,
}
CUT_OFF = 6e-3


@pytest.fixture(autouse=True)
def _poison(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fill uninitialised memory with NaN: reading it, or leaving it unwritten, shows."""

    def poisoned(make):
        def wrapper(*args, **kwargs):
            made = make(*args, **kwargs)
            return made.fill_(float("nan")) if made.is_floating_point() else made

        return wrapper

    for owner, name in ((torch, "empty"), (torch, "empty_like"), (torch.Tensor, "new_empty")):
        monkeypatch.setattr(owner, name, poisoned(getattr(owner, name)))


def run(
    case: FusedCase,
    inputs: tuple[Tensor | None, ...],
    backend: str,
    *,
    grad: Tensor | None = None,
) -> list[Tensor]:
    """Output and the gradients of all inputs that are given."""
    leaves = [t if t is None else t.detach().requires_grad_() for t in inputs]
    value, points, offsets, logits = leaves
    out = ms_deform_attn_fused(value, case.shapes, points, offsets, logits, backend=backend)
    if grad is None:
        generator = torch.Generator().manual_seed(1)
        grad = torch.randn(out.shape, generator=generator, dtype=torch.float64)
    given = [t for t in leaves if t is not None]
    return [out.detach(), *torch.autograd.grad(out, given, grad.to(out))]


def double(inputs: tuple[Tensor | None, ...]) -> tuple[Tensor | None, ...]:
    return tuple(t if t is None else t.detach().cpu().double() for t in inputs)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_the_reference_is_the_definition(case: FusedCase) -> None:
    inputs = case.inputs()
    want = fused_oracle(case, *(t if t is None else t.numpy() for t in inputs))
    got = ms_deform_attn_fused(inputs[0], case.shapes, *inputs[1:], backend="reference")
    torch.testing.assert_close(got, torch.from_numpy(want), rtol=1e-11, atol=1e-12)


def test_it_is_the_core_at_normalised_offsets() -> None:
    case = CASES["tokens, D=32, P=4"]
    value, _, offsets, logits = case.inputs()
    locations = sampling_locations(None, case.shapes, offsets, torch.float64)
    weights = logits.flatten(-2).softmax(-1).view_as(logits)
    want = ms_deform_attn(value, case.shapes, locations, weights)
    got = ms_deform_attn_fused(value, case.shapes, None, offsets, logits.flatten(-2))
    torch.testing.assert_close(got, want, rtol=1e-11, atol=1e-12)


# Too many calls for the interpreter, which the comparisons below cover.
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("device", "backend"), [path for path in ALL if path.id != "interpreter"])
def test_gradients_are_numerically_right(device: str, backend: str, form: str) -> None:
    shapes = ((3, 2), (0, 1), (1, 2))
    case = FusedCase(shapes, dim=2, points=2, queries=2, form=form, batch=1, heads=1, sigma=0.7)
    leaves = [t if t is None else t.requires_grad_() for t in case.inputs(device=device)]

    def function(*tensors: Tensor | None) -> Tensor:
        value, *others = tensors
        return ms_deform_attn_fused(value, case.shapes, *others, backend=backend)

    assert torch.autograd.gradcheck(function, leaves, nondet_tol=1e-12)


@pytest.mark.parametrize("form", FORMS)
def test_the_operator_differentiates_as_the_specification(form: str) -> None:
    case = FusedCase(((4, 3), (2, 2)), dim=4, points=2, form=form)
    leaves = [t if t is None else t.requires_grad_() for t in case.inputs()]
    points = leaves[1]
    if points is not None:
        points = points if points.dim() == 4 else points[..., None, :]
        points = points.expand(2, -1, 2, -1)
    out = ms_deform_attn_fused_reference(leaves[0], case.shapes, points, leaves[2], leaves[3])
    want = torch.autograd.grad(out.sum(), [t for t in leaves if t is not None])
    got = run(case, tuple(leaves), "reference", grad=torch.ones_like(out))[1:]
    for g, w in zip(got, want, strict=True):
        torch.testing.assert_close(g, w, rtol=1e-11, atol=1e-12)


# The interpreter is slow: one case serves it for types other than float32.
@pytest.mark.parametrize(
    ("device", "backend", "case", "dtype"),
    [
        pytest.param(*path.values, case, dtype, id=f"{path.id}-{name}-{dtype}", marks=path.marks)
        for path in FAST
        for name, case in CASES.items()
        for dtype in TOLERANCE
        if path.id != "interpreter" or dtype == torch.float32 or name == "points, D=24, P=1"
    ],
)
def test_output_and_gradients(
    device: str, backend: str, case: FusedCase, dtype: torch.dtype
) -> None:
    inputs = case.inputs(dtype, device)
    got = run(case, inputs, backend)
    # The gradient that arrives is rounded to the type of the output: so is the oracle's.
    generator = torch.Generator().manual_seed(1)
    grad = torch.randn(got[0].shape, generator=generator, dtype=torch.float64).to(dtype)
    want = run(case, double(inputs), "reference", grad=grad)
    sources = [inputs[0], *(t for t in inputs if t is not None)]
    interpreted = (device, backend) == ("cpu", "triton")
    for g, w, source in zip(got, want, sources, strict=True):
        assert g.dtype == source.dtype
        assert g.device.type == device
        cut_off = interpreted and g.dtype == torch.bfloat16
        assert relative_error(g, w) < (CUT_OFF if cut_off else TOLERANCE[g.dtype])


# Coordinates as fractions of these widths would be off by 1e-5 pixels and more.
@pytest.mark.parametrize(
    "case",
    [
        FusedCase(((1, 199), (3, 9)), dim=8, points=1, batch=1, heads=1),
        FusedCase(((1, 1999), (3, 40)), dim=8, points=2, form="Q", queries=40, batch=1, heads=1),
    ],
    ids=["tokens", "points"],
)
@pytest.mark.parametrize(("device", "backend"), FAST)
def test_wide_levels_cost_no_digits(device: str, backend: str, case: FusedCase) -> None:
    inputs = case.inputs(torch.float32, device)
    for g, w in zip(
        run(case, inputs, backend), run(case, double(inputs), "reference"), strict=True
    ):
        assert relative_error(g, w) < 1e-6


@pytest.mark.parametrize(("device", "backend"), ALL)
def test_half_precision_coordinates_are_computed_in_float32(device: str, backend: str) -> None:
    case = CASES["points, D=24, P=1"]
    half = case.inputs(torch.float32, device, coordinates=torch.bfloat16)
    widened = (half[0], *(t.float() for t in half[1:] if t is not None))
    got, want = run(case, half, backend), run(case, widened, backend)
    torch.testing.assert_close(got[0], want[0], rtol=0, atol=0)
    assert [g.dtype for g in got[1:]] == [t.dtype for t in half if t is not None]


@pytest.mark.parametrize(("device", "backend"), FAST)
def test_strides_do_not_matter(device: str, backend: str) -> None:
    case = CASES["points of a batch, D=8"]
    dense = case.inputs(torch.float32, device)
    want = run(case, dense, backend)
    padded = tuple(torch.stack([t, torch.full_like(t, torch.nan)], -1)[..., 0] for t in dense)
    permuted = tuple(t.transpose(0, 1).contiguous().transpose(0, 1) for t in dense)
    for strided in (padded, permuted):
        assert not any(t.is_contiguous() for t in strided)
        for g, w in zip(run(case, strided, backend), want, strict=True):
            torch.testing.assert_close(g, w, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("wanted", [(0,), (1,), (2,), (3,), (0, 3)], ids=str)
@pytest.mark.parametrize(("device", "backend"), ALL)
def test_only_the_gradients_asked_for(device: str, backend: str, wanted: tuple[int, ...]) -> None:
    case = FusedCase(((4, 3), (2, 2)), dim=4, points=2, form="Q", queries=5, batch=1)
    inputs = case.inputs(torch.float32, device)
    leaves = [t.detach().requires_grad_(i in wanted) for i, t in enumerate(inputs)]
    ms_deform_attn_fused(leaves[0], case.shapes, *leaves[1:], backend=backend).sum().backward()
    want = run(case, double(inputs), "reference", grad=torch.ones(1, 5, 8))[1:]
    for i, leaf in enumerate(leaves):
        if i in wanted:
            assert leaf.grad is not None
            assert relative_error(leaf.grad, want[i]) < 1e-6
        else:
            assert leaf.grad is None


@pytest.mark.parametrize(("device", "backend"), ALL)
def test_points_far_outside_count_as_zero(device: str, backend: str) -> None:
    case = CASES["points, D=24, P=1"]
    value, points, offsets, logits = case.inputs(torch.float32, device)
    far = torch.where(offsets > 0, 1e30, -torch.inf)
    out = ms_deform_attn_fused(value, case.shapes, points, far, logits, backend=backend)
    assert out.count_nonzero() == 0
    away = torch.full_like(points, torch.inf)
    out = ms_deform_attn_fused(value, case.shapes, away, offsets, logits, backend=backend)
    assert out.count_nonzero() == 0


@pytest.mark.parametrize("deterministic", [False, True])
@pytest.mark.parametrize(("device", "backend"), FAST)
def test_nan_spreads_as_in_the_reference(device: str, backend: str, deterministic: bool) -> None:
    case = FusedCase(((4, 5), (0, 3), (2, 2)), dim=4, points=2, batch=1)
    value, _, offsets, logits = case.inputs(torch.float32, device)
    offsets[0, 1, 0, 0, 1, 0] = torch.nan
    offsets[0, 1, 1, 2, 0, 1] = torch.nan
    offsets[0, 3, 0, 0, 0] = torch.tensor([torch.nan, 30.0])  # and outside
    offsets[0, 5, 0, 1] = torch.nan  # of a level without pixels
    offsets[0, 6, 0, 1] = torch.inf
    logits[0, 7, 1, 1] = -torch.inf  # a weight of zero
    inputs = value, None, offsets, logits
    want = run(case, tuple(t if t is None else t.cpu() for t in inputs), "reference")
    torch.use_deterministic_algorithms(deterministic)
    try:
        got = run(case, inputs, backend)
    finally:
        torch.use_deterministic_algorithms(False)
    assert want[0].isnan().sum() == 3 * case.dim
    assert not want[1].isnan().any()
    for g, w in zip(got, want, strict=True):
        assert torch.equal(g.isnan().cpu(), w.isnan())
        torch.testing.assert_close(g.cpu(), w, rtol=1e-4, atol=1e-5, equal_nan=True)


@pytest.mark.parametrize(("device", "backend"), ALL)
def test_nothing_to_do(device: str, backend: str) -> None:
    for case in (
        FusedCase(((2, 3),), dim=4, points=2, queries=0, form="Q"),
        FusedCase(((2, 3),), dim=4, points=2, batch=0),
        FusedCase(((2, 3),), dim=4, points=0),
        FusedCase(((0, 3), (2, 0)), dim=4, points=2),
        FusedCase(((0, 3), (2, 0)), dim=4, points=2, form="BQ"),
    ):
        inputs = case.inputs(torch.float32, device)
        out, *grads = run(case, inputs, backend)
        assert out.shape == (case.batch, inputs[2].shape[1], 8)
        assert all(t.count_nonzero() == 0 for t in (out, *grads))


@pytest.mark.parametrize("form", ["tokens", "BQ"])
@pytest.mark.parametrize(("device", "backend"), ALL)
def test_the_deterministic_backward(device: str, backend: str, form: str) -> None:
    # Many samples for few pixels: the case in which the order of atomics shows.
    queries = 5000 if device == "cuda" else 20
    case = FusedCase(((2, 4), (2, 1)), dim=8, points=3, queries=queries, form=form, batch=1)
    inputs = case.inputs(torch.float32, device)
    want = run(case, double(inputs), "reference")
    torch.use_deterministic_algorithms(True)
    try:
        first, again = run(case, inputs, backend), run(case, inputs, backend)
    finally:
        torch.use_deterministic_algorithms(False)
    for f, a, w in zip(first, again, want, strict=True):
        assert torch.equal(f, a)
        assert relative_error(f, w) < 2e-6


def compare(case: FusedCase, backend: str) -> None:
    inputs = case.inputs()
    for g, w in zip(run(case, inputs, backend), run(case, inputs, "reference"), strict=True):
        torch.testing.assert_close(g, w, rtol=1e-10, atol=1e-11)


SIZES = {
    "shapes": st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=4),
    "dim": st.integers(1, 70),
    "points": st.integers(1, 5),
    "form": st.sampled_from(FORMS),
}


@NO_COMPILER
@settings(max_examples=25, deadline=None, derandomize=True)
@given(**SIZES)
def test_any_size_on_the_cpu(
    shapes: list[tuple[int, int]], dim: int, points: int, form: str
) -> None:
    compare(FusedCase(tuple(shapes), dim=dim, points=points, form=form, batch=1), "cpp")


@NO_INTERPRETER
@settings(max_examples=3, deadline=None, derandomize=True)
@given(**SIZES)
def test_any_size_in_the_interpreter(
    shapes: list[tuple[int, int]], dim: int, points: int, form: str
) -> None:
    case = FusedCase(tuple(shapes[:2]), dim=dim, points=points, form=form, batch=1, heads=1)
    compare(case, "triton")


@NO_INTERPRETER
def test_offsets_beyond_31_bits_without_a_gpu() -> None:
    # One element of 2^31 numbers: memory of which only the touched pages exist.
    heads, dim, width, rows = 8, 64, 2048, 3
    height = 2**31 // (heads * dim * width) + rows
    small = FusedCase(
        ((rows, width),), dim=dim, points=1, form="Q", queries=3, batch=1, heads=heads, sigma=0.3
    )
    value, points, offsets, logits = small.inputs(torch.bfloat16)
    points[:, 1] = 0.5
    full = torch.UntypedStorage(2 * height * width * heads * dim)
    full = torch.tensor([], dtype=torch.bfloat16).set_(full).view(1, height * width, heads, dim)
    assert full.numel() > 2**31
    full[0, -rows * width :] = value[0]
    moved = points.clone()
    moved[:, 1] = (height - rows + 0.5 * rows) / height

    def results(shape: tuple[int, int], value: Tensor, points: Tensor) -> list[Tensor]:
        leaf = offsets.detach().requires_grad_()
        inputs = value, [shape], points, leaf, logits
        out = ms_deform_attn_fused(*inputs, backend="triton")
        return [out.detach(), *torch.autograd.grad(out.float().sum(), leaf)]

    got, want = results((height, width), full, moved), results((rows, width), value, points)
    for g, w in zip(got, want, strict=True):
        # float32 knows the reference point to 6e-5 pixels of this height.
        assert relative_error(g, w) < 1e-2
