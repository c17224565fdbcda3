from __future__ import annotations

import importlib

import pytest
import torch

from segblocks_kernels.space_time_attention import cells as cells_module
from segblocks_kernels.space_time_attention import reference
from tests.kernels.space_time_cases import (
    CASES,
    DEVICES,
    NO_CUDA,
    Case,
    call,
    call_operator,
    cell_members,
    error_ratio,
    loop_oracle,
    make_qkv,
    with_grads,
)


def triton_backward():
    # By name, since the package exports the function under the name of the folder.
    return importlib.import_module("segblocks_kernels.space_time_attention.triton_backward")


@pytest.fixture
def poisoned():
    """Uninitialised memory is NaN."""
    torch.use_deterministic_algorithms(True, warn_only=True)
    assert torch.empty(3).isnan().all()
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize("name", CASES)
def test_reference_equals_loops(name):
    case = CASES[name]
    qkv = make_qkv(case, "contiguous", torch.float64)
    got = call(case, qkv, backend="reference")
    want = loop_oracle(case, *qkv, scale=case.dim**-0.5)
    torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-13)


def test_scale_is_used():
    case = CASES["even"]
    qkv = make_qkv(case, "contiguous", torch.float64)
    got = call(case, qkv, scale=0.7, backend="reference")
    torch.testing.assert_close(got, loop_oracle(case, *qkv, scale=0.7), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("name", ["ragged", "level_out", "empty_level"])
def test_gradcheck(name):
    case = CASES[name]._replace(batch=1, frames=2, dim=3)
    leaves = [x.requires_grad_() for x in make_qkv(case, "contiguous", torch.float64)]
    cells = cells_module.make_cells(
        [s for shape in case.shapes for s in shape], [c or 0 for c in case.cells]
    )
    # The specification by itself, and the operator with its own backward.
    assert torch.autograd.gradcheck(
        lambda *x: reference.space_time_attention_reference(*x, cells, 0.5), leaves, fast_mode=True
    )
    assert torch.autograd.gradcheck(
        lambda *x: call_operator(case, list(x), "reference"), leaves, fast_mode=True
    )


def test_reference_backward_in_chunks(monkeypatch):
    case = CASES["ragged"]
    qkv = make_qkv(case, "contiguous", torch.float64)
    leaves = [x.requires_grad_() for x in qkv]
    out = call_operator(case, leaves, "reference")
    weight = torch.randn_like(out)
    whole = torch.autograd.grad(out, leaves, weight, retain_graph=True)
    monkeypatch.setattr(reference, "_SCORES_AT_ONCE", 1)
    for got, want in zip(torch.autograd.grad(out, leaves, weight), whole, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)


def test_equals_multihead_attention_on_gathered_cells():
    case = Case(2, 3, [(2, 4), (4, 8)], [1, 2], 4, 8)
    torch.manual_seed(0)
    attention = torch.nn.MultiheadAttention(32, 4, batch_first=True, dtype=torch.float64)
    tokens = torch.randn(2, 3, case.tokens, 32, dtype=torch.float64)
    table = torch.tensor(list(cell_members(case).values()))  # (cells, tokens of a cell)
    gathered = tokens[:, :, table].transpose(1, 2).flatten(0, 1).flatten(1, 2)
    attended = attention(gathered, gathered, gathered, need_weights=False)[0]
    want = torch.empty_like(tokens)
    want[:, :, table] = attended.reshape(2, len(table), 3, -1, 32).transpose(1, 2)

    packed = torch.nn.functional.linear(tokens, attention.in_proj_weight, attention.in_proj_bias)
    qkv = list(packed.unflatten(-1, (3, 4, 8)).unbind(3))
    got = attention.out_proj(call(case, qkv).flatten(3))
    torch.testing.assert_close(got, want, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    ("dtype", "bound"), [(torch.float32, 2e-6), (torch.float16, 2e-3), (torch.bfloat16, 1.5e-2)]
)
@pytest.mark.parametrize("name", CASES)
def test_triton_equals_reference(name, dtype, bound, device, poisoned):
    case = CASES[name]
    layout = {torch.float32: "packed", torch.float16: "permuted"}.get(dtype, "contiguous")
    qkv = make_qkv(case, layout, dtype, device)
    weight = torch.randn(qkv[0].shape, dtype=torch.float64, device=device)
    weight = weight.to(dtype).double()
    got = with_grads(case, qkv, weight, backend="triton")
    want = with_grads(case, [x.double() for x in qkv], weight, backend="reference")
    for name, a, b in zip(("out", "dq", "dk", "dv"), got, want, strict=True):
        assert a.dtype == dtype
        # One token attends to itself only: its gradients of q and k are rounding errors.
        if b.norm() < 1e-9:
            assert a.norm() < 100 * bound, name
        else:
            assert error_ratio(a, b) < bound, name


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("backend", ["reference", "triton"])
def test_tokens_of_no_cell_are_zero_and_ignored(backend, poisoned, device):
    case = CASES["level_out"]
    qkv = make_qkv(case, "contiguous", torch.float32, device)
    for x in qkv:
        x[:, :, 6:21] = torch.nan
    for x in with_grads(case, qkv, torch.ones_like(qkv[0]), backend=backend):
        assert torch.equal(x[:, :, 6:21], torch.zeros_like(x[:, :, 6:21]))
        assert not x.isnan().any()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("backend", ["reference", "triton"])
@pytest.mark.parametrize(
    "case",
    [
        Case(0, 2, [(2, 2)], [2], 1, 16),
        Case(1, 0, [(2, 2)], [2], 1, 16),
        Case(1, 1, [(0, 0), (2, 2)], [2, None], 1, 16),
    ],
)
def test_nothing_to_attend(case, backend, poisoned, device):
    qkv = make_qkv(case, "contiguous", torch.float32, device)
    for x in with_grads(case, qkv, torch.ones_like(qkv[0]), backend=backend):
        assert torch.equal(x, torch.zeros_like(qkv[0]))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("backend", ["reference", "triton"])
def test_expanded_gradient(backend, device):
    case = CASES["ragged"]
    leaves = [x.requires_grad_() for x in make_qkv(case, "packed", torch.float32, device)]
    got = torch.autograd.grad(call(case, leaves, backend=backend).sum(), leaves)
    want = with_grads(case, leaves, torch.ones_like(leaves[0]), backend="reference")[1:]
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("backend", ["reference", "triton"])
@pytest.mark.parametrize("wanted", [(0,), (1,), (2,), (0, 2), (1, 2)], ids=str)
def test_only_the_gradients_asked_for(wanted, backend, device, poisoned):
    case = CASES["level_out"]
    qkv = make_qkv(case, "contiguous", torch.float32, device)
    weight = torch.randn_like(qkv[0])
    want = with_grads(case, qkv, weight, backend="reference")[1:]
    leaves = [x.requires_grad_(i in wanted) for i, x in enumerate(qkv)]
    call_operator(case, leaves, backend).backward(weight)
    for i, leaf in enumerate(leaves):
        if i in wanted:
            assert error_ratio(leaf.grad, want[i]) < 1e-5
        else:
            assert leaf.grad is None


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    ("wanted", "kernel"), [((0,), "key_kernel"), ((2,), "query_kernel")], ids=["q", "v"]
)
def test_passes_that_nobody_needs_are_not_run(wanted, kernel, device, monkeypatch):
    case = CASES["one_token"]
    leaves = make_qkv(case, "contiguous", torch.float32, device)
    leaves = [x.requires_grad_(i in wanted) for i, x in enumerate(leaves)]
    out = call(case, leaves, backend="triton")
    monkeypatch.setattr(triton_backward(), kernel, None)
    out.sum().backward()
    with pytest.raises(TypeError, match="NoneType"):
        with_grads(case, leaves, torch.ones_like(out), backend="triton")


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("backend", ["reference", "triton"])
def test_heads_without_channels(backend, device):
    case = CASES["ragged"]._replace(dim=0)
    qkv = make_qkv(case, "contiguous", torch.float32, device)
    for x in with_grads(case, qkv, torch.ones_like(qkv[0]), backend=backend):
        assert x.shape == qkv[0].shape


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("far", ["clips", "frames", "heads"])
def test_offsets_beyond_int32(far, device):
    case = {
        "clips": Case(3, 1, [(2, 2)], [2], 1, 16),
        "frames": Case(1, 3, [(2, 2)], [2], 1, 16),
        "heads": Case(1, 1, [(2, 2)], [2], 3, 16),
    }[far]
    apart = 2**30 + 64  # the third clip, frame or head starts beyond 2**31 elements
    storage = torch.empty(2 * apart + 3 * 64, dtype=torch.bfloat16, device=device)
    small = make_qkv(case, "contiguous", torch.bfloat16, device)
    large = []
    for i, x in enumerate(small):
        strides = {
            "clips": (apart, 0, 16, 16, 1),
            "frames": (0, apart, 16, 16, 1),
            "heads": (0, 0, 16, apart, 1),
        }[far]
        view = storage.as_strided(x.shape, strides, storage_offset=i * 64)
        large.append(view.copy_(x))
    weight = torch.randn_like(small[0])
    for a, b in zip(
        with_grads(case, large, weight, backend="triton"),
        with_grads(case, small, weight, backend="triton"),
        strict=True,
    ):
        assert torch.equal(a, b)


@pytest.mark.gpu
@pytest.mark.skipif(NO_CUDA, reason="no CUDA")
@pytest.mark.parametrize(
    ("shapes", "cells", "frames"),
    [
        ([(14, 28), (28, 56), (56, 112)], [2, 4, 8], 3),
        ([(15, 27), (30, 54), (60, 108)], [2, 4, 8], 8),
    ],
)
def test_real_sizes_on_cuda(shapes, cells, frames):
    case = Case(1, frames, shapes, cells, 8, 32)
    qkv = make_qkv(case, "packed", torch.bfloat16, "cuda")
    weight = torch.randn_like(qkv[0])
    got = with_grads(case, qkv, weight, backend="triton")
    want = with_grads(case, [x.float() for x in qkv], weight, backend="reference")
    again = with_grads(case, qkv, weight, backend="triton")
    for a, b, c in zip(got, want, again, strict=True):
        assert error_ratio(a, b) < 1.5e-2
        assert torch.equal(a, c)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("backend", ["reference", "triton"])
def test_permuting_frames_permutes_the_output(backend, device):
    case = Case(1, 3, [(2, 3)], [2], 1, 16)
    qkv = make_qkv(case, "contiguous", torch.float32, device)
    order = [2, 0, 1]
    got = call(case, [x[:, order] for x in qkv], backend=backend)
    want = call(case, qkv, backend=backend)[:, order]
    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-6)


def test_other_cells_do_not_matter():
    case = CASES["even"]
    qkv = make_qkv(case, "contiguous", torch.float64)
    before = call(case, qkv)
    right = [n for (_, j), members in cell_members(case).items() if j == 1 for n in members]
    left = [n for n in range(case.tokens) if n not in right]
    for x in qkv:
        x[:, :, right] += 1.0
    after = call(case, qkv)
    assert torch.equal(before[:, :, left], after[:, :, left])
    assert not torch.allclose(before[:, :, right], after[:, :, right])


def test_ragged_equals_padded_and_masked():
    case = Case(1, 2, [(3, 5)], [2], 2, 8)
    padded = Case(1, 2, [(4, 6)], [2], 2, 9)
    qkv = make_qkv(case, "contiguous", torch.float64)
    grids = [x.new_zeros(1, 2, 4, 6, 2, 9) for x in qkv]
    for grid, x in zip(grids, qkv, strict=True):
        grid[:, :, :3, :5, :, :8] = x.unflatten(2, (3, 5))
    # A ninth channel drives the scores of absent keys to where their weights underflow.
    grids[0][..., 8] = 1.0
    grids[1][..., 8] = -1e4
    grids[1][:, :, :3, :5, :, 8] = 0.0
    want = call(padded, [grid.flatten(2, 3) for grid in grids], scale=0.3)
    want = want.unflatten(2, (4, 6))[:, :, :3, :5, :, :8].flatten(2, 3)
    torch.testing.assert_close(call(case, qkv, scale=0.3), want, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("device", DEVICES)
def test_scores_far_below_zero(device):
    # The weights of absent keys would overflow in the backward, were they not masked.
    case = CASES["one_cell_mostly_outside"]
    q, k, v = make_qkv(case, "contiguous", torch.float32, device)
    q, k = 10.0 + q, -10.0 + k
    got = with_grads(case, [q, k, v], torch.ones_like(v), backend="triton")
    want = with_grads(
        case, [x.double() for x in (q, k, v)], torch.ones_like(v), backend="reference"
    )
    for a, b in zip(got, want, strict=True):
        assert float((a - b).abs().max()) < 2e-3
