"""Copies of coarse levels in the backward of both forms of deformable attention."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from segblocks.ops import ms_deform_attn, ms_deform_attn_fused
from segblocks_kernels._backend import interpreter_on
from tests.kernels.deformable_cases import Case, relative_error
from tests.kernels.fused_deformable_cases import FusedCase

pytest.importorskip("triton")

from segblocks_kernels import _tuning
from segblocks_kernels.ms_deform_attn import triton_common
from segblocks_kernels.ms_deform_attn.triton_replicas import (
    LIMITS,
    MAX_BYTES,
    MIN_SHARES,
    Sums,
    count_copies,
    with_limits,
)
from segblocks_kernels.ms_deform_attn_fused import triton_common as fused_common

DEVICES = [
    pytest.param(
        "cpu",
        marks=pytest.mark.skipif(not interpreter_on(), reason="Triton is not interpreted"),
        id="interpreter",
    ),
    pytest.param(
        "cuda",
        marks=[
            pytest.mark.gpu,
            pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
        ],
    ),
]
SHAPES = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), min_size=1, max_size=4)
# Programs of four queries.
POINTS_CASES = {
    "one level, fewer programs than copies": Case(
        ((1, 1),), dim=4, points=4, queries=18, batch=1, heads=1
    ),
    "equal levels": Case(((1, 2), (1, 2)), dim=5, points=2, queries=26, batch=2, heads=1),
    "fine first, an empty one, one pixel": Case(
        ((9, 9), (0, 3), (1, 1), (2, 2)), dim=8, points=4, queries=16, batch=1, heads=1
    ),
}


@pytest.fixture(autouse=True)
def _poison(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fill uninitialised memory with NaN: reading it, or leaving it unwritten, shows."""
    make = Tensor.new_empty

    def poisoned(*args: Any, **kwargs: Any) -> Tensor:
        made = make(*args, **kwargs)
        return made.fill_(float("nan")) if made.is_floating_point() else made

    monkeypatch.setattr(Tensor, "new_empty", poisoned)


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> list[Sums]:
    """The sums of each launch, as they were before they were folded."""
    seen: list[Sums] = []
    fold = Sums.fold

    def record(sums: Sums) -> Tensor | None:
        if sums.copies is not None:
            seen.append(sums)
        return fold(sums)

    monkeypatch.setattr(Sums, "fold", record)
    return seen


def set_limit(monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    """Launch small programs with at most ``limit`` copies."""

    def configure(op: str, *args: Any) -> dict[str, int]:
        blocks = {"BQ": 4}
        if op.startswith("ms_deform_attn_fused."):
            blocks = {"TH": 2, "TW": 2} if op.endswith("tokens") else {"TH": 1, "TW": 4}
        copies = {"R": limit} if ".backward" in op else {}
        return blocks | copies | {"num_warps": 1}

    for module in (triton_common, fused_common):
        monkeypatch.setattr(module, "launch_config", configure)


def copies_of(sums: Sums, level: int) -> Tensor:
    """Copies 1 and on of a level, (B, copies, pixels, M, D)."""
    assert sums.copies is not None
    sizes = [h * w for h, w in sums.shapes]
    extra = [(count - 1) * size for count, size in zip(sums.counts, sizes, strict=True)]
    mine = sums.copies.split(extra, dim=1)[level]
    return mine.unflatten(1, (sums.counts[level] - 1, sizes[level]))


def grad_value(case: Case, inputs: tuple[Tensor, ...], backend: str) -> Tensor:
    value = inputs[0].detach().requires_grad_()
    out = ms_deform_attn(value, case.shapes, *inputs[1:], backend=backend)
    generator = torch.Generator().manual_seed(1)
    grad = torch.randn(out.shape, generator=generator, dtype=torch.float64)
    return torch.autograd.grad(out, value, grad.to(out))[0]


def fused_grad_value(case: FusedCase, inputs: tuple[Any, ...], backend: str) -> Tensor:
    value = inputs[0].detach().requires_grad_()
    out = ms_deform_attn_fused(value, case.shapes, *inputs[1:], backend=backend)
    generator = torch.Generator().manual_seed(1)
    grad = torch.randn(out.shape, generator=generator, dtype=torch.float64)
    return torch.autograd.grad(out, value, grad.to(out))[0]


@given(
    shapes=SHAPES, samples=st.integers(0, 10**6), row=st.integers(0, 4096), limit=st.integers(1, 9)
)
@settings(max_examples=200, deadline=None, derandomize=True)
def test_copies_are_bounded(
    shapes: list[tuple[int, int]], samples: int, row: int, limit: int
) -> None:
    for (height, width), count in zip(
        shapes, count_copies(shapes, samples, row, limit), strict=True
    ):
        assert 1 <= count <= limit
        if count > 1:
            pixels = max(1, height * width)
            assert 4 * samples >= count * pixels * MIN_SHARES
            assert count * pixels * row <= MAX_BYTES


def test_coarse_levels_have_copies() -> None:
    shapes = ((15, 27), (30, 54), (60, 108))
    encoder = count_copies(shapes, 8505 * 4, 128, 4)
    assert encoder == (4, 2, 1)
    assert count_copies(shapes, 300 * 4, 128, 4) == (1, 1, 1)
    assert count_copies(shapes, 8505 * 4, 128, 1) == (1, 1, 1)


@pytest.mark.parametrize("op", ["ms_deform_attn", "ms_deform_attn_fused"])
def test_tuning_tries_every_limit(op: str) -> None:
    value = torch.empty(1, 6, 1, 32)
    samples = torch.empty(1, 6, 1, 1, 2, 2)
    if op == "ms_deform_attn":
        tiles = triton_common.candidates(triton_common.plan(value, samples))
    else:
        sizes = fused_common.plan(value, [(2, 3)], None, samples, samples[..., 0])
        tiles = fused_common.candidates(sizes)
    tried = with_limits(tiles)
    assert len(tried) <= _tuning.MAX_CANDIDATES
    assert {config["R"] for config in tried} == set(LIMITS)
    for table in _tuning._tables(op):
        for kernel, rows in table["kernels"].items():
            assert all(("R" in row["config"]) == kernel.startswith("backward") for row in rows)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_copies_are_summed_in_order(device: str, dtype: torch.dtype) -> None:
    shapes = ((3, 5), (0, 4), (2, 2), (1, 1))
    value = torch.empty((2, 20, 3, 5), dtype=dtype, device=device)
    sums = Sums.zeros(value, shapes, 400, torch.float32, 5)
    assert sums.counts == (3, 1, 5, 5)
    assert sums.total is not None
    assert sums.copies is not None
    assert sums.total.count_nonzero() == sums.copies.count_nonzero() == 0
    generator = torch.Generator().manual_seed(0)
    for tensor in (sums.total, sums.copies):
        tensor.copy_(torch.randn(tensor.shape, generator=generator))
    want = sums.total.clone()
    for level, first, last in ((0, 0, 15), (2, 15, 19), (3, 19, 20)):
        for copy in copies_of(sums, level).unbind(1):
            want[:, first:last] += copy
    out = sums.fold()
    assert out is not None
    assert out.dtype == dtype
    assert out.is_contiguous()
    if dtype == torch.bfloat16 and device == "cpu":
        # Triton's interpreter cuts off instead of rounding.
        torch.testing.assert_close(out.float(), want, rtol=2**-7, atol=0)
    else:
        assert torch.equal(out, want.to(dtype))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("case", POINTS_CASES.values(), ids=POINTS_CASES)
def test_copies_change_rounding_alone(
    device: str, case: Case, launched: list[Sums], monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = case.inputs(torch.float32, device)
    want = grad_value(case, tuple(t.cpu().double() for t in inputs), "reference")
    set_limit(monkeypatch, 1)
    single = grad_value(case, inputs, "triton")
    assert not launched
    set_limit(monkeypatch, 50)
    got = grad_value(case, inputs, "triton")
    assert relative_error(got, want) < 1e-6
    assert relative_error(got, single) < 1e-6
    (sums,) = launched
    programs = -(-case.queries // 4)
    for level, count in enumerate(sums.counts):
        for number, copy in enumerate(copies_of(sums, level).unbind(1), start=1):
            assert (copy.count_nonzero() > 0) == (number < min(count, programs))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64], ids=str)
def test_copies_are_not_kept_in_half_precision(
    device: str, dtype: torch.dtype, launched: list[Sums], monkeypatch: pytest.MonkeyPatch
) -> None:
    case = POINTS_CASES["fine first, an empty one, one pixel"]
    inputs = case.inputs(dtype, device)
    want = grad_value(case, tuple(t.cpu().double() for t in inputs), "reference")
    set_limit(monkeypatch, 4)
    got = grad_value(case, inputs, "triton")
    accumulator = torch.promote_types(dtype, torch.float32)
    assert [sums.copies.dtype for sums in launched if sums.copies is not None] == [accumulator]
    assert got.dtype == dtype
    tolerance = {torch.float16: 5e-4, torch.bfloat16: 6e-3, torch.float64: 1e-14}[dtype]
    assert relative_error(got, want) < tolerance


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("form", ["tokens", "BQ"])
def test_the_fused_form_has_them_too(
    device: str, form: str, launched: list[Sums], monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes = ((1, 2), (3, 4), (0, 2), (2, 1))
    case = FusedCase(shapes, dim=4, points=2, form=form, queries=16, batch=1, heads=1)
    inputs = case.inputs(torch.float32, device)
    double = tuple(t if t is None else t.cpu().double() for t in inputs)
    want = fused_grad_value(case, double, "reference")
    set_limit(monkeypatch, 1)
    single = fused_grad_value(case, inputs, "triton")
    assert not launched
    set_limit(monkeypatch, 3)
    got = fused_grad_value(case, inputs, "triton")
    assert relative_error(got, want) < 1e-6
    assert relative_error(got, single) < 1e-6
    (sums,) = launched
    assert sums.counts == (2, 1, 1, 2)
    assert all(copy.count_nonzero() > 0 for copy in copies_of(sums, 0).unbind(1))


@pytest.mark.parametrize("device", DEVICES)
def test_the_deterministic_backward_has_none(
    device: str, launched: list[Sums], monkeypatch: pytest.MonkeyPatch
) -> None:
    case = POINTS_CASES["equal levels"]
    inputs = case.inputs(torch.float32, device)
    set_limit(monkeypatch, 4)
    torch.use_deterministic_algorithms(True)
    try:
        first, again = (grad_value(case, inputs, "triton") for _ in range(2))
    finally:
        torch.use_deterministic_algorithms(False)
    assert torch.equal(first, again)
    assert not launched
