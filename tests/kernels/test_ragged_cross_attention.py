from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from segblocks_kernels import ragged_cross_attention
from segblocks_kernels.ragged_cross_attention import reference

OP = torch.ops.segblocks.ragged_cross_attention.default
LENGTHS = [3, 0, 1, 5, 0]
CUDA = pytest.param(
    "cuda",
    marks=[
        pytest.mark.gpu,
        pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA"),
    ],
)


def make(
    lengths: list[int] = LENGTHS,
    keys: int = 6,
    dim: int = 4,
    dtype: torch.dtype = torch.float64,
    device: str = "cpu",
) -> tuple[Tensor, ...]:
    """q, k, v, indices, offsets and bias; keys repeat."""
    generator = torch.Generator().manual_seed(sum(lengths))
    q = torch.randn(len(lengths), 2, dim, generator=generator, dtype=torch.float64)
    k, v = torch.randn(2, keys, 2, dim, generator=generator, dtype=torch.float64)
    indices = torch.randint(keys, (sum(lengths),), generator=generator)
    offsets = torch.tensor([0, *lengths]).cumsum(0)
    bias = torch.randn(sum(lengths), generator=generator, dtype=torch.float64)
    floats = [x.to(device, dtype) for x in (q, k, v, bias)]
    return *floats[:3], indices.to(device), offsets.to(device), floats[3]


def loop_oracle(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    indices: Tensor,
    offsets: Tensor,
    bias: Tensor | None,
    scale: float,
) -> Tensor:
    out = torch.zeros_like(q)
    for row in range(q.shape[0]):
        edges = range(int(offsets[row]), int(offsets[row + 1]))
        for m in range(q.shape[1]):
            scores = [float(q[row, m] @ k[indices[e], m]) * scale for e in edges]
            if bias is not None:
                scores = [s + float(bias[e]) for s, e in zip(scores, edges, strict=True)]
            weights = [math.exp(s) for s in scores]
            for weight, e in zip(weights, edges, strict=True):
                out[row, m] += weight / sum(weights) * v[indices[e], m]
    return out


@pytest.mark.parametrize("device", ["cpu", CUDA])
@pytest.mark.parametrize("scale", [None, 0.3])
@pytest.mark.parametrize("biased", [True, False])
def test_equals_loops(biased, scale, device):
    *inputs, bias = make(device=device)
    bias = bias if biased else None
    want = loop_oracle(*inputs, bias, 0.5 if scale is None else scale)
    got = ragged_cross_attention(*inputs, bias, scale=scale)
    torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-13)
    assert torch.equal(got[1], torch.zeros_like(got[1]))


@settings(max_examples=25, deadline=None)
@given(lengths=st.lists(st.integers(0, 5), min_size=0, max_size=5), chunk=st.integers(1, 7))
def test_any_lengths_in_any_chunks(lengths, chunk):
    inputs = make(lengths)
    before = reference._EDGES_ON_CPU
    reference._EDGES_ON_CPU = chunk
    try:
        got = ragged_cross_attention(*inputs)
    finally:
        reference._EDGES_ON_CPU = before
    torch.testing.assert_close(got, loop_oracle(*inputs, 0.5), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("chunk", [2, 1 << 11])
def test_gradcheck(chunk, monkeypatch):
    monkeypatch.setattr(reference, "_EDGES_ON_CPU", chunk)
    q, k, v, indices, offsets, bias = make()
    leaves = [x.requires_grad_() for x in (q, k, v, bias)]

    def attend(q, k, v, bias):
        return ragged_cross_attention(q, k, v, indices, offsets, bias)

    assert torch.autograd.gradcheck(attend, leaves, fast_mode=True)
    for i in range(4):  # one gradient at a time, the others switched off
        some = [x.detach() for x in leaves]
        some[i].requires_grad_()
        assert torch.autograd.gradcheck(attend, some, fast_mode=True)


def test_log_counts_stand_for_repeated_keys():
    q, k, v, *_ = make([2, 1])
    counts = torch.tensor([3, 1, 2])
    indices, offsets = torch.tensor([4, 2, 5]), torch.tensor([0, 2, 3])
    got = ragged_cross_attention(q, k, v, indices, offsets, counts.double().log())
    repeated = torch.repeat_interleave(indices, counts)
    want = ragged_cross_attention(q, k, v, repeated, torch.tensor([0, 4, 6]))
    torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-13)


def test_an_edge_at_minus_infinity_does_not_exist():
    q, k, v, indices, offsets, bias = make([3, 2])
    bias[1] = bias[3] = bias[4] = -torch.inf  # the second row loses all its edges
    leaves = [x.requires_grad_() for x in (q, k, v, bias)]
    got = ragged_cross_attention(q, k, v, indices, offsets, bias)
    kept = torch.tensor([0, 2])
    want = ragged_cross_attention(
        q, k, v, indices[kept], torch.tensor([0, 2, 2]), bias.detach()[kept]
    )
    torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-13)
    grads = torch.autograd.grad(got.sum(), leaves)
    assert all(grad.isfinite().all() for grad in grads)
    assert torch.equal(grads[3][1], torch.zeros_like(grads[3][1]))


def test_large_scores_do_not_overflow():
    *inputs, bias = make(dtype=torch.float32)
    got = ragged_cross_attention(*inputs, bias + 1000.0)
    torch.testing.assert_close(got, ragged_cross_attention(*inputs, bias), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("device", ["cpu", CUDA])
@pytest.mark.parametrize(
    ("dtype", "bound"), [(torch.float32, 2e-6), (torch.float16, 2e-3), (torch.bfloat16, 1.5e-2)]
)
def test_lower_precision(dtype, bound, device):
    q, k, v, indices, offsets, bias = make([40, 1, 0, 63], 30, 24, dtype, device)
    bias = bias.float()
    leaves = [x.requires_grad_() for x in (q, k, v, bias)]
    exact = [x.detach().double().requires_grad_() for x in leaves]
    got, want = (ragged_cross_attention(*x[:3], indices, offsets, x[3]) for x in (leaves, exact))
    assert got.dtype == dtype
    grads = torch.autograd.grad(got.square().sum(), leaves)
    exact_grads = torch.autograd.grad(want.square().sum(), exact)
    for a, b in zip((got, *grads), (want, *exact_grads), strict=True):
        assert (a.double() - b).norm() <= 2 * bound * b.norm()


def test_memory_for_the_backward_is_weights_only():
    lengths = [2000, 3000]
    q, k, v, indices, offsets, bias = make(lengths, keys=50, dim=32, dtype=torch.float32)
    leaves = [x.requires_grad_() for x in (q, k, v, bias)]
    kept: dict[int, int] = {}

    def pack(x: Tensor) -> Tensor:
        kept[x.data_ptr()] = x.numel()
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        ragged_cross_attention(*leaves[:3], indices, offsets, leaves[3])
    assert max(kept.values()) == sum(lengths) * 2  # E * M, not E * M * D


def test_non_contiguous_inputs():
    q, k, v, *rest = make()
    want = ragged_cross_attention(q, k, v, *rest)
    strided = [x.transpose(0, 2).contiguous().transpose(0, 2) for x in (q, k, v)]
    assert not strided[0].is_contiguous()
    torch.testing.assert_close(ragged_cross_attention(*strided, *rest), want, rtol=1e-12, atol=0)


def test_autocast_casts_like_the_caller():
    q, k, v, *rest = make(dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        got = ragged_cross_attention(q, k, v, *rest)
    half = [x.bfloat16() for x in (q, k, v)]
    assert got.dtype == torch.bfloat16
    assert torch.equal(got, ragged_cross_attention(*half, *rest))


@pytest.mark.parametrize("device", ["cpu", CUDA])
@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_opcheck(dtype, biased, device):
    q, k, v, indices, offsets, bias = make(dtype=dtype, device=device)
    k = k.transpose(0, 1).contiguous().transpose(0, 1)
    bias = bias.float().requires_grad_() if biased else None
    leaves = [x.requires_grad_() for x in (q, k, v)]
    torch.library.opcheck(OP, (*leaves, indices, offsets, bias, 0.5, "auto"))
    edges = (indices, offsets, None if bias is None else bias.detach())
    out, weights = OP(*[x.detach() for x in leaves], *edges, 0.5, "auto")
    for needs in ([True] * 4, [True, False, False, False], [False, False, True, True]):
        tensors = (torch.ones_like(out), *[x.detach() for x in leaves], *edges, out, weights)
        torch.library.opcheck(
            torch.ops.segblocks.ragged_cross_attention_backward.default,
            (*tensors, 0.5, [*needs[:3], needs[3] and biased], "auto"),
        )


@pytest.mark.parametrize("device", ["cpu", CUDA])
@pytest.mark.parametrize("compiler", ["eager", "aot_eager", "inductor"])
def test_compiles_whole(compiler, device):
    torch._dynamo.reset()
    q, k, v, indices, offsets, bias = make(dtype=torch.float32, device=device)
    leaves = [x.requires_grad_() for x in (q, k, v, bias)]
    compiled = torch.compile(ragged_cross_attention, fullgraph=True, backend=compiler)
    got, want = (f(q, k, v, indices, offsets, bias) for f in (compiled, ragged_cross_attention))
    for a, b in zip(
        (got, *torch.autograd.grad(got.sum(), leaves)),
        (want, *torch.autograd.grad(want.sum(), leaves)),
        strict=True,
    ):
        assert b.count_nonzero() > 0
        torch.testing.assert_close(a, b)


def test_exports_for_any_number_of_edges():
    class Module(torch.nn.Module):
        def forward(self, q, k, v, indices, offsets, bias):
            return ragged_cross_attention(q, k, v, indices, offsets, bias)

    edges = torch.export.Dim("edges", min=2, max=1 << 20)
    shapes = (None, None, None, {0: edges}, None, {0: edges})
    exported = torch.export.export(Module(), make(), dynamic_shapes=shapes)
    assert [n.args[-1] for n in exported.graph.nodes if n.target is OP] == ["auto"]
    other = make([4, 1, 0, 0, 7])
    torch.testing.assert_close(exported.module()(*other), ragged_cross_attention(*other))


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"q": torch.zeros(2, 4)}, r"q must have shape \(R, M, D\)"),
        ({"k": torch.zeros(6, 2, 3)}, r"k must have shape \(N, M, D\) with M=2, D=4"),
        ({"v": torch.zeros(5, 2, 4)}, r"v must have shape \(N, M, D\) with .*N=6"),
        ({"indices": torch.zeros(3, 1).long()}, r"indices must have shape \(E\)"),
        ({"indices": torch.zeros(3).int()}, "indices must be int64, got torch.int32"),
        ({"offsets": torch.zeros(3)}, "offsets must be int64, got torch.float32"),
        ({"offsets": torch.zeros(2).long()}, r"offsets must have shape \(R\+1\) with R\+1=3"),
        ({"bias": torch.zeros(4)}, r"bias must have shape \(E\) with E=3"),
        ({"bias": torch.zeros(3).long()}, "bias must be floating point"),
        ({"bias": torch.zeros(3, device="meta")}, "bias must be on the same device"),
        ({"v": torch.zeros(6, 2, 4).half()}, "same dtype"),
        ({"offsets": [0, 1, 3]}, r"offsets must be a torch.Tensor, got list \[0, 1, 3\]"),
        ({"bias": 0.0}, "bias must be a torch.Tensor, got float"),
        (
            {"backend": "xformers"},
            "'xformers' cannot run on device 'cpu': the operators of xformers run on CUDA only",
        ),
        ({"backend": "cpp"}, "backend must be one of auto, triton, xformers, reference, got 'cpp'"),
    ],
)
def test_wrong_arguments_are_named(change, match):
    arguments = {"q": torch.zeros(2, 2, 4), "k": torch.zeros(6, 2, 4), "v": torch.zeros(6, 2, 4)}
    arguments |= {"indices": torch.zeros(3).long(), "offsets": torch.tensor([0, 1, 3])}
    ragged_cross_attention(**arguments)
    with pytest.raises(ValueError, match=match):
        ragged_cross_attention(**(arguments | change))
