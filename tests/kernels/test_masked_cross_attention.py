from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from segblocks_kernels import MaskFromFeatures, masked_cross_attention

OP = torch.ops.segblocks.masked_cross_attention.default

CUDA = pytest.param(
    "cuda",
    marks=[
        pytest.mark.gpu,
        pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA"),
    ],
)


def make(
    dtype: torch.dtype = torch.float64, device: str = "cpu", keys: int = 7, dim: int = 5
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """q, k, v and mask logits; the first row of the mask is empty and the second one full."""
    generator = torch.Generator().manual_seed(0)
    q = torch.randn(2, 4, 3, dim, generator=generator, dtype=torch.float64)
    k, v = torch.randn(2, 2, keys, 3, dim, generator=generator, dtype=torch.float64)
    logits = torch.randn(2, 4, keys, generator=generator)
    logits[:, 0] = -1.0
    logits[:, 1] = 1.0
    logits[:, 2, ::2] = 0.0
    return q.to(device, dtype), k.to(device, dtype), v.to(device, dtype), logits.to(device)


def loop_oracle(
    q: Tensor, k: Tensor, v: Tensor, keep: Tensor, scale: float, bias: Tensor | None = None
) -> Tensor:
    """``bias`` is (B, Q, M, N), with the factor of each head in it."""
    if bias is None:
        bias = q.new_zeros((*q.shape[:3], k.shape[1]))
    out = torch.zeros_like(q)
    batch, queries, heads, _ = q.shape
    for b, i, m in itertools.product(range(batch), range(queries), range(heads)):
        keys = [n for n in range(k.shape[1]) if keep[b, i, n]] or range(k.shape[1])
        scores = [float(q[b, i, m] @ k[b, n, m]) * scale + float(bias[b, i, m, n]) for n in keys]
        weights = [math.exp(score) for score in scores]
        for n, weight in zip(keys, weights, strict=True):
            out[b, i, m] += weight / sum(weights) * v[b, n, m]
    return out


@pytest.mark.parametrize("device", ["cpu", CUDA])
@pytest.mark.parametrize("scale", [None, 0.3])
@pytest.mark.parametrize("kind", ["logits", "bool", "none"])
def test_equals_loops(kind, scale, device):
    q, k, v, logits = make(device=device)
    mask = {"logits": logits, "bool": logits >= 0, "none": None}[kind]
    keep = torch.ones_like(logits) if mask is None else logits >= 0
    want = loop_oracle(q, k, v, keep, 5**-0.5 if scale is None else scale)
    got = masked_cross_attention(q, k, v, mask, scale=scale)
    torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-13)


def soft_part(factors: list[float] | None) -> tuple[Tensor, Tensor | None]:
    """A bias, and a factor for each of the three heads."""
    generator = torch.Generator().manual_seed(1)
    bias = torch.rand(2, 4, 7, generator=generator, dtype=torch.float64)
    return bias, None if factors is None else torch.tensor(factors, dtype=torch.float64)


@pytest.mark.parametrize("factors", [None, [4.0, 0.0, -1.5]])
@pytest.mark.parametrize("masked", [True, False])
def test_bias_equals_loops(masked, factors):
    q, k, v, logits = make()
    bias, bias_scale = soft_part(factors)
    heads = torch.ones(3) if bias_scale is None else bias_scale
    keep = logits >= 0 if masked else torch.ones_like(logits)
    want = loop_oracle(q, k, v, keep, 5**-0.5, bias[:, :, None] * heads[:, None])
    mask = logits if masked else None
    got = masked_cross_attention(q, k, v, mask, bias=bias, bias_scale=bias_scale)
    torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-13)


def test_a_large_bias_is_not_rounded_to_half_precision():
    q, k, v, _ = make(torch.bfloat16)
    bias, bias_scale = soft_part([32.0, 32.0, 32.0])
    got = masked_cross_attention(q, k, v, None, bias=bias, bias_scale=bias_scale)
    exact = (x.double() for x in (q, k, v))
    want = masked_cross_attention(*exact, None, bias=bias, bias_scale=bias_scale)
    assert got.dtype == torch.bfloat16
    assert (got.double() - want).norm() <= 4e-3 * want.norm()


def test_mask_from_features():
    q, k, v, _ = make()
    embeddings, features = torch.randn(2, 4, 6), torch.randn(2, 7, 6)
    pair = MaskFromFeatures(embeddings.requires_grad_(), features)
    got = masked_cross_attention(q, k, v, pair)
    want = masked_cross_attention(q, k, v, embeddings @ features.mT)
    assert torch.equal(got, want)
    assert not got.requires_grad


def test_gradcheck_with_bias():
    q, k, v, logits = make()
    bias, bias_scale = soft_part([4.0, 0.5, -1.5])
    leaves = [x.requires_grad_() for x in (q, k, v, bias, bias_scale)]
    assert torch.autograd.gradcheck(
        lambda q, k, v, b, s: masked_cross_attention(q, k, v, logits, bias=b, bias_scale=s),
        leaves,
        fast_mode=True,
    )


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_gradcheck_of_the_operator(masked, soft):
    q, k, v, logits = make()
    leaves = [q, k, v, *(soft_part([4.0, 0.5, -1.5]) if soft else ())]
    mask = logits if masked else None

    def attend(q: Tensor, k: Tensor, v: Tensor, *soft: Tensor) -> Tensor:
        return OP(q, k, v, mask, None, *(soft or (None, None)), 0.4, "reference")[0]

    leaves = [x.requires_grad_() for x in leaves]
    assert torch.autograd.gradcheck(attend, leaves, fast_mode=True)


@pytest.mark.filterwarnings("ignore:There is a performance drop")
@pytest.mark.parametrize("masked", [False, True])
def test_the_operator_under_vmap(masked):
    q, k, v, logits = (x.unflatten(0, (2, 1)) for x in make())

    def attend(q: Tensor, k: Tensor, v: Tensor, logits: Tensor) -> Tensor:
        mask = logits if masked else None
        return OP(q, k, v, mask, None, None, None, 0.4, "reference")[0]

    want = torch.stack([attend(*x) for x in zip(q, k, v, logits, strict=True)])
    torch.testing.assert_close(torch.vmap(attend)(q, k, v, logits), want, rtol=1e-12, atol=1e-13)


def test_the_operators_backward_ignores_autocast():
    q, k, v, logits = make(torch.float32)
    leaves = [x.requires_grad_() for x in (q, k, v)]
    out = OP(*leaves, logits, None, None, None, 0.4, "reference")[0]
    want = torch.autograd.grad(out.sum(), leaves, retain_graph=True)
    with torch.autocast("cpu", torch.bfloat16):
        got = torch.autograd.grad(out.sum(), leaves)
    assert all(map(torch.equal, got, want))


def test_gradcheck():
    q, k, v, logits = make()
    logits.requires_grad_()
    leaves = [x.requires_grad_() for x in (q, k, v)]
    assert torch.autograd.gradcheck(
        lambda *x: masked_cross_attention(*x, logits), leaves, fast_mode=True
    )
    masked_cross_attention(*leaves, logits).sum().backward()
    assert logits.grad is None


def test_an_empty_row_attends_everywhere():
    q, k, v, logits = make()
    got = masked_cross_attention(q, k, v, logits)
    everywhere = masked_cross_attention(q, k, v, None)
    assert torch.equal(logits[:, 0] >= 0, torch.zeros_like(logits[:, 0], dtype=torch.bool))
    torch.testing.assert_close(got[:, :2], everywhere[:, :2], rtol=1e-12, atol=1e-13)
    assert not torch.allclose(got[:, 2:], everywhere[:, 2:])


def test_keys_outside_the_mask_do_not_matter():
    q, k, v, logits = make()
    want = masked_cross_attention(q[:, 2:3], k, v, logits[:, 2:3])
    outside = logits[0, 2] < 0
    assert outside.any()
    k[0, outside], v[0, outside] = 3.0, -7.0
    got = masked_cross_attention(q[:, 2:3], k, v, logits[:, 2:3])
    torch.testing.assert_close(got[0], want[0], rtol=1e-12, atol=1e-13)


def test_without_keys_the_output_is_zero():
    q, k, v, logits = make(keys=0)
    leaves = [x.requires_grad_() for x in (q, k, v)]
    out = masked_cross_attention(*leaves, logits)
    assert torch.equal(out, torch.zeros_like(q))
    for x, grad in zip(leaves, torch.autograd.grad(out.sum(), leaves), strict=True):
        assert torch.equal(grad, torch.zeros_like(x))


@pytest.mark.parametrize("device", ["cpu", CUDA])
@pytest.mark.parametrize(
    ("dtype", "bound"), [(torch.float32, 2e-6), (torch.float16, 2e-3), (torch.bfloat16, 1.5e-2)]
)
@pytest.mark.parametrize("keys", [1, 63, 100])
def test_lower_precision(dtype, bound, keys, device):
    q, k, v, logits = make(dtype, device, keys, dim=24)
    leaves = [x.requires_grad_() for x in (q, k, v)]
    exact = [x.detach().double().requires_grad_() for x in leaves]
    got, want = (masked_cross_attention(*x, logits) for x in (leaves, exact))
    assert got.dtype == dtype
    pairs = zip(
        (got, *torch.autograd.grad(got.sum(), leaves)),
        (want, *torch.autograd.grad(want.sum(), exact)),
        strict=True,
    )
    for a, b in pairs:
        assert (a.double() - b).norm() <= bound * max(b.norm(), v.double().norm())


def test_non_contiguous_inputs():
    q, k, v, logits = make()
    want = masked_cross_attention(q, k, v, logits)
    strided = [x.transpose(0, 2).contiguous().transpose(0, 2) for x in (q, k, v)]
    mask = logits.mT.contiguous().mT
    assert not mask.is_contiguous()
    torch.testing.assert_close(masked_cross_attention(*strided, mask), want, rtol=1e-12, atol=0)


def test_autocast_leaves_the_mask_alone():
    q, k, v, logits = make(torch.float32)
    # Rounded to float16 this would be -0.0, which counts as inside.
    logits[:, 3] = torch.where(logits[:, 3] < 0, -1e-9, logits[:, 3])
    with torch.autocast("cpu", torch.float16):
        got = masked_cross_attention(q, k, v, logits)
    assert got.dtype == torch.float16
    assert torch.equal(got, masked_cross_attention(q.half(), k.half(), v.half(), logits >= 0))


def test_compiles_whole():
    q, k, v, logits = make(torch.float32)
    leaves = [x.requires_grad_() for x in (q, k, v)]
    compiled = torch.compile(masked_cross_attention, fullgraph=True, backend="aot_eager")
    got, want = compiled(*leaves, logits), masked_cross_attention(*leaves, logits)
    for a, b in zip(
        (got, *torch.autograd.grad(got.sum(), leaves)),
        (want, *torch.autograd.grad(want.sum(), leaves)),
        strict=True,
    ):
        torch.testing.assert_close(a, b)


def test_exports_for_any_number_of_keys():
    class Module(torch.nn.Module):
        def forward(self, q, k, v, mask):
            return masked_cross_attention(q, k, v, mask)

    keys = torch.export.Dim("keys", min=2, max=1 << 20)
    shapes = (None, {1: keys}, {1: keys}, {2: keys})
    exported = torch.export.export(Module(), make(torch.float32), dynamic_shapes=shapes)
    other = make(torch.float32, keys=13)
    torch.testing.assert_close(exported.module()(*other), masked_cross_attention(*other))
    # Not the backend of the machine that exported.
    assert OP in {node.target for node in exported.graph.nodes}


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"q": torch.zeros(1, 2, 4)}, r"q must have shape \(B, Q, M, D\)"),
        ({"k": torch.zeros(1, 5, 2, 4)}, r"k must have shape \(B, N, M, D\) with .*M=1"),
        ({"v": torch.zeros(1, 6, 1, 4)}, r"v must have shape \(B, N, M, D\) with .*N=5"),
        ({"mask": torch.zeros(1, 5, 2)}, r"mask must have shape \(B, Q, N\) with B=1, Q=2, N=5"),
        ({"mask": torch.zeros(1, 2, 5).int()}, r"mask \(bool or logits\) must be floating point"),
        ({"mask": torch.zeros(1, 2, 5, device="meta")}, "mask must be on the same device"),
        ({"k": torch.zeros(1, 5, 1, 4).half()}, "same dtype"),
        ({"q": torch.zeros(1, 2, 1, 4).long()}, "q must be floating point"),
        ({"q": [0.0]}, "q must be a torch.Tensor, got list"),
        ({"mask": torch.zeros(1, 2, 5).numpy()}, r"mask .* must be a torch.Tensor, got ndarray"),
        (
            {"mask": MaskFromFeatures(torch.zeros(1, 3, 6), torch.zeros(1, 5, 6))},
            r"mask.embeddings must have shape \(B, Q, C\) with B=1, Q=2",
        ),
        (
            {"mask": MaskFromFeatures(torch.zeros(1, 2, 6), torch.zeros(1, 5, 7))},
            r"mask.features must have shape \(B, N, C\) with .*C=6",
        ),
        (
            {"mask": MaskFromFeatures(torch.zeros(1, 2, 6), torch.zeros(1, 5, 6).half())},
            "mask.embeddings, mask.features must have the same dtype",
        ),
        ({"bias": torch.zeros(1, 5, 2)}, r"bias must have shape \(B, Q, N\)"),
        ({"bias": torch.zeros(1, 2, 5).int()}, "bias must be floating point"),
        ({"bias": torch.zeros(1, 2, 5), "bias_scale": torch.zeros(2)}, "bias_scale .* with .*M=1"),
        ({"bias": torch.zeros(1, 2, 5), "bias_scale": [1.0]}, "bias_scale must be a torch.Tensor"),
        ({"bias_scale": torch.zeros(1)}, "bias_scale must come with a bias"),
        ({"backend": "flash"}, "backend must be one of auto, triton, reference, got 'flash'"),
    ],
)
def test_wrong_arguments_are_named(change, match):
    arguments = {"q": torch.zeros(1, 2, 1, 4), "k": torch.zeros(1, 5, 1, 4)}
    arguments |= {"v": torch.zeros(1, 5, 1, 4), "mask": torch.zeros(1, 2, 5)}
    masked_cross_attention(**arguments)
    with pytest.raises(ValueError, match=match):
        masked_cross_attention(**(arguments | change))
