from __future__ import annotations

import importlib
import os
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from segblocks_kernels import ragged_cross_attention
from tests.kernels.absent_gpu import compiled_by
from tests.kernels.ragged_cases import TRITON_DEVICES, Inputs, assert_close, make, with_grads

pytest.importorskip("triton")

OP = torch.ops.segblocks.ragged_cross_attention.default
BACKWARD_OP = torch.ops.segblocks.ragged_cross_attention_backward.default
LENGTHS = [3, 0, 1, 5, 0]
on_each_device = pytest.mark.parametrize("device", TRITON_DEVICES)


def module(name: str):
    # By name, since the package exports the function under the name of the folder.
    return importlib.import_module(f"segblocks_kernels.ragged_cross_attention.{name}")


@pytest.fixture
def small_tiles(monkeypatch):
    """Spans of 4 edges, tiles of 2, and one head a program: every loop turns, with few edges."""
    config = {"ROW": 4, "TILE": 8, "SPAN": 4, "num_warps": 1}
    monkeypatch.setattr(module("triton_tiles"), "launch_config", lambda *_: config)


@on_each_device
@pytest.mark.parametrize(
    ("lengths", "heads", "dim"),
    [
        (LENGTHS, 2, 4),
        ([37], 3, 5),  # one list over two spans, odd sizes
        ([1, 30, 1, 1], 1, 1),
    ],
)
def test_equals_the_reference(lengths, heads, dim, device):
    inputs = make(lengths, heads=heads, dim=dim, dtype=torch.float32, device=device)
    got = with_grads(inputs, "triton", scale=0.7)
    assert_close(got, with_grads(inputs.exact(), "reference", scale=0.7), 2e-6)
    empty = [row for row, length in enumerate(lengths) if not length]
    assert not got[0][empty].any()


@on_each_device
@pytest.mark.parametrize("lengths", [[11, 0, 0, 1, 4, 3], [0, 4, 4, 0]])
@pytest.mark.usefixtures("small_tiles")
def test_lists_over_many_spans_and_heads_in_groups(lengths, device):
    inputs = make(lengths, heads=3, dim=4, dtype=torch.float32, device=device)
    tiles = module("triton_tiles")
    constants = tiles.blocks(tiles.launch_config(), inputs.q)
    assert (constants["BLOCK_M"], constants["BLOCK_E"]) == (1, 2)
    assert_close(with_grads(inputs, "triton"), with_grads(inputs.exact(), "reference"), 2e-6)


@pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") != "1", reason="Triton is not interpreted")
@settings(max_examples=8, deadline=None)
@given(lengths=st.lists(st.integers(0, 7), min_size=1, max_size=5), span=st.sampled_from([2, 4]))
def test_any_lengths_in_any_spans(lengths, span):
    inputs = make(lengths, heads=1, dim=2, dtype=torch.float32)
    with pytest.MonkeyPatch.context() as patch:
        config = {"ROW": 256, "TILE": 64, "SPAN": span, "num_warps": 1}
        patch.setattr(module("triton_tiles"), "launch_config", lambda *_: config)
        got = ragged_cross_attention(*inputs, backend="triton")
    assert_close([got], [ragged_cross_attention(*inputs.exact())], 2e-6)


@on_each_device
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float16, 2e-3), (torch.bfloat16, 1.5e-2)])
def test_half_precision(dtype, bound, device):
    inputs = make([9, 2], dim=8, dtype=dtype, device=device)
    got = with_grads(inputs, "triton")
    assert [x.dtype for x in got] == [dtype] * 4 + [torch.float32]
    assert_close(got, with_grads(inputs.exact(), "reference"), bound)


@on_each_device
def test_without_a_bias(device):
    inputs = make([4, 2], dtype=torch.float32, device=device)._replace(bias=None)
    assert_close(with_grads(inputs, "triton"), with_grads(inputs.exact(), "reference"), 2e-6)


@on_each_device
def test_an_edge_at_minus_infinity_does_not_exist(device):
    inputs = make([3, 2], dtype=torch.float32, device=device)
    inputs.bias[[1, 3, 4]] = -torch.inf  # the second row loses all its edges
    got = with_grads(inputs, "triton")
    assert_close(got, with_grads(inputs.exact(), "reference"), 2e-6)
    assert not got[0][1].any()
    assert not got[4][[1, 3, 4]].any()


@on_each_device
def test_scores_far_from_zero(device):
    inputs = make([5, 3], dtype=torch.float32, device=device)
    shifted = inputs._replace(bias=inputs.bias + 1024.0)
    for a, b in zip(with_grads(shifted, "triton"), with_grads(inputs, "triton"), strict=True):
        torch.testing.assert_close(a, b, rtol=2e-3, atol=2e-3)


@on_each_device
def test_inputs_are_read_where_they_lie(device):
    inputs = make([4, 2], dtype=torch.float32, device=device)
    want = with_grads(inputs, "triton")
    packed = torch.stack((inputs.k, inputs.v), dim=-1)
    q = inputs.q.transpose(0, 2).contiguous().transpose(0, 2)
    strided = inputs._replace(q=q, k=packed[..., 0], v=packed[..., 1])
    assert not any(x.is_contiguous() for x in strided[:3])
    for a, b in zip(with_grads(strided, "triton"), want, strict=True):
        assert torch.equal(a, b)


@on_each_device
@pytest.mark.usefixtures("small_tiles")
def test_poisoned_memory_never_shows_and_runs_are_equal(device):
    inputs = make([6, 0, 2], dtype=torch.float32, device=device)
    want = with_grads(inputs, "triton")
    torch.use_deterministic_algorithms(True)
    try:
        assert torch.empty(3, device=device).isnan().all()
        got = with_grads(inputs, "triton")
    finally:
        torch.use_deterministic_algorithms(False)
    for a, b in zip(got, want, strict=True):
        assert torch.equal(a, b)


@on_each_device
def test_keys_beyond_32_bits(device):
    far = 2**31 + 8  # in elements; pages that nobody touches take no memory
    memory = torch.empty(far + 8, dtype=torch.float16, device=device)
    k = memory.as_strided((2, 1, 8), (far, 8, 1))
    inputs = make([2, 1], keys=2, heads=1, dim=8, dtype=torch.float16, device=device)
    k.copy_(inputs.k)
    inputs = inputs._replace(k=k, v=k)
    got = ragged_cross_attention(*inputs, backend="triton")
    near = inputs._replace(k=k.clone(), v=k.clone())
    assert torch.equal(got, ragged_cross_attention(*near, backend="triton"))


@on_each_device
@pytest.mark.parametrize(
    ("rows", "keys", "heads", "dim"), [(0, 3, 2, 4), (2, 0, 2, 4), (2, 3, 2, 0)]
)
def test_nothing_to_attend(rows, keys, heads, dim, device):
    lengths = [1] * rows if dim == 0 else [0] * rows
    inputs = make(lengths, keys, heads, dim, torch.float32, device)
    got = with_grads(inputs, "triton")
    for a, b in zip(got, with_grads(inputs, "reference"), strict=True):
        assert torch.equal(a, b)


@on_each_device
def test_passes_that_nobody_asked_for_are_left_out(monkeypatch, device):
    inputs = make([3, 2], dtype=torch.float32, device=device)
    whole = with_grads(inputs, "triton")[1:]
    launched = []
    backward = module("triton_backward")
    launch = backward.launch

    def recorded(kernel, *arguments, **extra):
        launched.append(kernel.__name__)
        launch(kernel, *arguments, **extra)

    monkeypatch.setattr(backward, "launch", recorded)
    passes = (
        ["query_kernel", "sum_kernel"],
        ["key_kernel"],
        ["key_kernel"],
        ["query_kernel"],
    )
    for wanted, expected in enumerate(passes):
        leaves = [x.detach() for x in inputs.leaves]
        leaves[wanted].requires_grad_()
        q, k, v, bias = leaves
        out = ragged_cross_attention(q, k, v, *inputs[3:5], bias, backend="triton")
        launched.clear()
        (got,) = torch.autograd.grad(out.double().square().sum(), leaves[wanted])
        assert launched == expected
        assert torch.equal(got, whole[wanted])


@on_each_device
def test_the_kernels_run(monkeypatch, device):
    inputs = make([3], dtype=torch.float32, device=device)

    class Broken:
        def __getitem__(self, grid):
            raise RuntimeError("broken on purpose")

    monkeypatch.setattr(module("triton_forward"), "span_kernel", Broken())
    ragged_cross_attention(*inputs, backend="reference")
    with pytest.raises(RuntimeError, match="broken on purpose"):
        ragged_cross_attention(*inputs, backend="triton")


@on_each_device
def test_float64_is_left_to_the_reference(device):
    inputs = make([3], device=device)
    with pytest.raises(ValueError, match="'triton' cannot run: triton has no kernel for f"):
        ragged_cross_attention(*inputs, backend="triton")
    assert ragged_cross_attention(*inputs).dtype == torch.float64


@on_each_device
def test_opcheck(device):
    inputs = make([2, 1], heads=1, dtype=torch.float32, device=device)
    q, k, v, bias = (x.requires_grad_() for x in inputs.leaves)
    edges = inputs[3:5]
    torch.library.opcheck(OP, (q, k, v, *edges, bias, 0.5, "triton"))
    detached = Inputs(*[x.detach() for x in inputs])
    out, lse = OP(*detached, 0.5, "triton")
    settings = (0.5, [True, False, True, True], "triton")
    torch.library.opcheck(BACKWARD_OP, (torch.ones_like(out), *detached, out, lse, *settings))


@on_each_device
def test_compiles_whole(device):
    torch._dynamo.reset()
    inputs = make([2, 0, 3], heads=1, dtype=torch.float32, device=device)
    want = with_grads(inputs, "triton")
    compiled = torch.compile(ragged_cross_attention, fullgraph=True, backend="aot_eager")
    leaves = [x.detach().requires_grad_() for x in inputs.leaves]
    out = compiled(*leaves[:3], *inputs[3:5], leaves[3], backend="triton")
    grads = torch.autograd.grad(out.double().square().sum(), leaves)
    for a, b in zip((out, *grads), want, strict=True):
        assert torch.equal(a, b)


@pytest.mark.skipif(sys.platform != "linux", reason="Triton ships for Linux")
def test_compiles_for_hopper(tmp_path):
    kernels = compiled_by("ragged_gpu_compile.py", tmp_path)
    # Five kernels once each for three sizes of lists, and then for another type and head size.
    assert [kernel["kernel"] for kernel in kernels] == [
        *("span_kernel", "merge_kernel", "query_kernel", "sum_kernel", "key_kernel")
    ] * 2
    for kernel in kernels:
        assert kernel["stack"] <= 64  # registers spill there
        assert kernel["atomics"] == 0
    assert all(kernel["wide"] > 0 for kernel in kernels[:5])
