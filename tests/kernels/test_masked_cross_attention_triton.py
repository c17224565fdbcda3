"""The Triton kernels of masked cross-attention against the reference in float64."""

from __future__ import annotations

import importlib
import os
from typing import NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from segblocks_kernels import MaskFromFeatures, backend_report, masked_cross_attention

OP = torch.ops.segblocks.masked_cross_attention.default
BACKWARD = torch.ops.segblocks.masked_cross_attention_backward.default
NO_CUDA = not torch.cuda.is_available()
# One process either interprets Triton or compiles it, so each test runs on one of these.
DEVICES = [
    pytest.param(
        "cpu",
        marks=pytest.mark.skipif(
            os.environ.get("TRITON_INTERPRET") != "1", reason="Triton is not interpreted"
        ),
    ),
    pytest.param("cuda", marks=[pytest.mark.gpu, pytest.mark.skipif(NO_CUDA, reason="no CUDA")]),
]


def module(name: str):
    # By name, since the package exports the function under the name of the folder.
    return importlib.import_module(f"segblocks_kernels.masked_cross_attention.{name}")


class Case(NamedTuple):
    """Sizes; what the mask is: logits, bool, product, none; and whether there is a bias."""

    batch: int = 1
    queries: int = 5
    keys: int = 70
    heads: int = 2
    dim: int = 24
    mask: str = "logits"
    soft: bool = False


class Inputs(NamedTuple):
    """The differentiable ones, and the mask."""

    leaves: list[Tensor]
    mask: Tensor | MaskFromFeatures | None

    def to(self, dtype: torch.dtype) -> Inputs:
        return Inputs([x.to(dtype) for x in self.leaves], self.mask)


def make(case: Case, dtype: torch.dtype, device: str, *, strided: bool = False) -> Inputs:
    """Inputs whose first row of the mask is empty, and the second one open at a single key."""
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        x = torch.randn(shape, generator=generator, dtype=torch.float64).to(device, dtype)
        return x.transpose(0, -1).contiguous().transpose(0, -1) if strided else x

    batch, queries, keys, heads, dim, kind, soft = case
    leaves = [draw(batch, queries, heads, dim)]
    leaves += [draw(batch, keys, heads, dim) for _ in "kv"]
    if soft:
        leaves += [draw(batch, queries, keys), 4 * draw(heads)]
    if kind == "none":
        return Inputs(leaves, None)
    if kind == "product":
        # Small integers multiply exactly, whatever the type and the order.
        embeddings = draw(batch, queries, 7).mul(2).round()
        features = draw(batch, keys, 7).mul(2).round()
        features[..., 0] = -1.0
        embeddings[:, 0] = 0.0
        embeddings[:, 0, 0] = 1.0
        return Inputs(leaves, MaskFromFeatures(embeddings, features))
    logits = draw(batch, queries, keys)
    logits[:, 0] = -1.0
    if queries > 1:
        logits[:, 1] = -1.0
        logits[:, 1, keys // 2] = 0.0
    return Inputs(leaves, logits >= 0 if kind == "bool" else logits)


def run(inputs: Inputs, weight: Tensor | None = None, **kwargs) -> list[Tensor]:
    """Output and the gradient of every leaf."""
    leaves = [x.detach().requires_grad_() for x in inputs.leaves]
    q, k, v, *soft = leaves
    kwargs |= dict(zip(("bias", "bias_scale"), soft, strict=False))
    out = masked_cross_attention(q, k, v, inputs.mask, **kwargs)
    weight = torch.ones_like(out) if weight is None else weight.to(out)
    return [out.detach(), *torch.autograd.grad(out, leaves, weight)]


def assert_equals_reference(case: Case, dtype: torch.dtype, bound: float, device: str, **kwargs):
    inputs = make(case, dtype, device, **kwargs)
    weight = torch.randn(inputs.leaves[0].shape, device=device).to(dtype)
    got = run(inputs, weight, backend="triton")
    want = run(inputs.to(torch.float64), weight, backend="reference")
    names = ("out", "q", "k", "v", "bias", "bias_scale")
    for name, a, b in zip(names, got, want, strict=False):
        assert a.dtype == dtype, name
        assert a.is_contiguous(), name
        error = (a.double() - b).norm()
        # What cancels, such as a softmax over one key, is compared with what it cancels from.
        scale = inputs.leaves[2].double().norm() * weight.double().norm() / weight.numel() ** 0.5
        assert error <= bound * max(float(b.norm()), float(scale)), (name, float(error))


@pytest.fixture
def poisoned():
    """Uninitialised memory is NaN."""
    torch.use_deterministic_algorithms(True, warn_only=True)
    assert torch.empty(3).isnan().all()
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture
def many_splits(monkeypatch):
    """Small inputs are split like large ones."""
    monkeypatch.setattr(module("triton_tiles"), "MIN_KEYS_PER_SPLIT", 32)


CASES = {
    "logits": Case(),
    "bool": Case(mask="bool", keys=33, dim=16),
    "product": Case(batch=2, mask="product", heads=1),
    "soft": Case(mask="none", soft=True, heads=3),
    "masked_and_soft": Case(mask="logits", soft=True, keys=97),
    "dense": Case(mask="none", keys=1),
    "two_blocks_of_queries": Case(queries=70, keys=40, heads=1, soft=True),
    "wide_head": Case(queries=17, keys=65, heads=1, dim=96),
}


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", CASES)
def test_equals_reference(name, device, poisoned, many_splits):
    assert_equals_reference(CASES[name], torch.float32, 3e-6, device)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float16, 2e-3), (torch.bfloat16, 1.5e-2)])
@pytest.mark.parametrize("name", ["product", "masked_and_soft"])
def test_half_precision(name, dtype, bound, device, poisoned, many_splits):
    assert_equals_reference(CASES[name], dtype, bound, device, strided=True)


@pytest.mark.parametrize("device", DEVICES)
@settings(max_examples=4, deadline=None)
@given(
    case=st.builds(
        Case,
        batch=st.integers(1, 2),
        queries=st.integers(1, 20),
        keys=st.integers(1, 80),
        heads=st.integers(1, 2),
        dim=st.integers(1, 20),
        mask=st.sampled_from(["logits", "bool", "product", "none"]),
        soft=st.booleans(),
    )
)
def test_any_sizes(device, case):
    assert_equals_reference(case, torch.float32, 3e-6, device)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("keys", [1, 32, 70])
@pytest.mark.parametrize("dtype", [torch.bool, torch.float32, torch.float64, torch.bfloat16])
def test_packing_is_exact(dtype, keys, device, monkeypatch):
    op = module("op")
    # Strips of several words, which long masks have.
    monkeypatch.setattr(op, "MAX_STRIPS", 2)
    logits = torch.randn(2, 3, keys, dtype=torch.float64)
    # Half precision would round these to minus zero, which is inside.
    logits[0, 0] = -1e-30
    logits[1, 2, -1] = 0.0
    logits[1, 1, 0] = torch.nan
    mask = (logits >= 0 if dtype == torch.bool else logits.to(dtype)).to(device)
    q = torch.empty(2, 3, 1, 16, device=device)
    _, words, strips = op._saved(q, torch.empty(2, keys, 1, 16, device=device), mask, True)
    module("triton_pack").pack(mask, None, words.fill_(-7), strips.fill_(7))
    want = mask if dtype == torch.bool else mask >= 0
    bits = (words[..., None] >> torch.arange(32, device=device)) & 1
    assert torch.equal(bits.flatten(2)[..., :keys].bool(), want)
    assert not bits.flatten(2)[..., keys:].any()
    share = op.words_per_strip(words.shape[2])
    parts = [part.any(-1) for part in (words != 0).split(share, dim=2)]
    assert torch.equal(strips, torch.stack(parts, dim=2).to(torch.int8))


@pytest.mark.parametrize("device", DEVICES)
def test_keys_outside_the_mask_are_not_touched(device, many_splits):
    inputs = make(Case(keys=96, heads=1), torch.float32, device)
    mask = torch.zeros(1, 5, 96, dtype=torch.bool, device=device)
    mask[..., :20] = True
    for x in inputs.leaves[1:]:
        x[:, 64:] = torch.nan
    out, *grads = run(Inputs(inputs.leaves, mask), backend="triton")
    assert out.isfinite().all()
    assert all(grad.isfinite().all() for grad in grads)
    assert not grads[1][:, 20:].any()
    assert not grads[2][:, 20:].any()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.filterwarnings("ignore:invalid value")  # the factor's gradient, which nobody asks for
def test_a_row_that_the_bias_closes_is_zero(device, many_splits):
    inputs = make(Case(queries=3, mask="none", soft=True, heads=1), torch.float32, device)
    inputs.leaves[3][:, 1] = -torch.inf
    inputs = inputs._replace(leaves=inputs.leaves[:4])
    got, want = (run(inputs, backend=backend) for backend in ("triton", "reference"))
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)
    assert not got[0][:, 1].any()


@pytest.mark.parametrize("device", DEVICES)
def test_heads_beyond_32_bits(device):
    apart = 2**30 + 64  # the third head starts beyond 2**31 elements
    storage = torch.empty(2 * apart + 20 * 16, dtype=torch.bfloat16, device=device)
    q, *_ = make(Case(heads=3, dim=16), torch.bfloat16, device).leaves
    k = storage.as_strided((1, 20, 3, 16), (0, 16, apart, 1)).normal_()
    got, want = (masked_cross_attention(q, x, x, None, backend="triton") for x in (k, k.clone()))
    assert torch.equal(got, want)


@pytest.mark.parametrize("device", DEVICES)
def test_the_same_from_run_to_run(device, many_splits):
    inputs = make(CASES["masked_and_soft"], torch.float32, device)
    first, second = (run(inputs, backend="triton") for _ in range(2))
    assert all(map(torch.equal, first, second))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("backend", ["reference", "triton"])
@pytest.mark.parametrize("sizes", [{"keys": 0}, {"queries": 0}, {"batch": 0}])
def test_nothing_to_attend_to(sizes, backend, device):
    inputs = make(Case(soft=True, mask="none")._replace(**sizes), torch.float32, device)
    mask = torch.zeros(inputs.leaves[3].shape, device=device)
    for x, source in zip(
        run(Inputs(inputs.leaves, mask), backend=backend),
        (inputs.leaves[0], *inputs.leaves),
        strict=True,
    ):
        assert torch.equal(x, torch.zeros_like(source))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("backend", ["reference", "triton"])
@pytest.mark.parametrize("name", ["product", "masked_and_soft"])
def test_opcheck(name, backend, device):
    inputs = make(CASES[name]._replace(keys=37), torch.float32, device)
    q, k, v, *soft = (x.requires_grad_() for x in inputs.leaves)
    pair = inputs.mask if isinstance(inputs.mask, MaskFromFeatures) else (inputs.mask, None)
    bias, bias_scale = soft or (None, None)
    arguments = (q, k, v, *pair, bias, bias_scale, 0.25, backend)
    torch.library.opcheck(OP, arguments)
    with torch.no_grad():
        out, *saved = OP(*arguments)
        plain = [None if x is None else x.detach() for x in (q, k, v, bias, bias_scale)]
    for needs in ([True] * 3 + [bool(soft)] * 2, [False, False, True, False, False]):
        given = (torch.ones_like(out), *plain, out, *saved, True, 0.25, needs, backend)
        tests = ("test_schema", "test_faketensor")
        torch.library.opcheck(BACKWARD, given, test_utils=tests)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", ["product", "masked_and_soft"])
def test_compiles_whole(name, device):
    inputs = make(CASES[name]._replace(keys=37), torch.float32, device)
    leaves = [x.requires_grad_() for x in inputs.leaves]
    keywords = dict(zip(("bias", "bias_scale"), leaves[3:], strict=False))
    compiled = torch.compile(masked_cross_attention, fullgraph=True, backend="aot_eager")
    out = compiled(*leaves[:3], inputs.mask, backend="triton", **keywords)
    got = [out, *torch.autograd.grad(out, leaves, torch.ones_like(out))]
    for a, b in zip(got, run(inputs, backend="triton"), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)


class _Broken:
    def __getitem__(self, grid):
        raise RuntimeError("broken on purpose")


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    ("file", "kernel", "case"),
    [
        ("triton_pack", "pack_kernel", "masked_and_soft"),
        ("triton_pack", "pack_product_kernel", "product"),
        ("triton_forward", "split_kernel", "masked_and_soft"),
        ("triton_forward", "merge_kernel", "masked_and_soft"),
        ("triton_backward", "query_kernel", "masked_and_soft"),
        ("triton_backward", "key_kernel", "masked_and_soft"),
        ("triton_backward", "bias_kernel", "masked_and_soft"),
    ],
)
def test_triton_reaches_its_kernels(monkeypatch, file, kernel, case, device, many_splits):
    inputs = make(CASES[case], torch.float32, device)
    monkeypatch.setattr(module(file), kernel, _Broken())
    with pytest.raises(RuntimeError, match="broken on purpose"):
        run(inputs, backend="triton")
    run(inputs, backend="reference")


def test_explicit_triton_never_falls_back(monkeypatch):
    inputs = make(Case(), torch.float32, "cpu")
    with pytest.raises(ValueError, match="float64"):
        run(inputs.to(torch.float64), backend="triton")
    with pytest.raises(ValueError, match="at most D=256"):
        run(make(Case(dim=257), torch.float32, "cpu"), backend="triton")
    monkeypatch.setenv("TRITON_INTERPRET", "0")
    with pytest.raises(ValueError, match="TRITON_INTERPRET"):
        run(inputs, backend="triton")


def test_backend_report():
    assert backend_report("cpu")["masked_cross_attention"][0] == "reference"
    assert backend_report("cuda")["masked_cross_attention"][0] == "triton"


@pytest.mark.gpu
@pytest.mark.skipif(NO_CUDA, reason="no CUDA")
@pytest.mark.parametrize("mask", ["logits", "product"])
@pytest.mark.parametrize(("batch", "queries", "keys"), [(2, 100, 19440), (1, 200, 51840)])
def test_real_sizes_on_cuda(batch, queries, keys, mask):
    case = Case(batch, queries, keys, heads=8, dim=32, mask=mask)
    assert_equals_reference(case, torch.bfloat16, 1.5e-2, "cuda")


@pytest.mark.gpu
@pytest.mark.skipif(NO_CUDA, reason="no CUDA")
def test_offsets_beyond_32_bits_on_cuda():
    # 8 clips of a million keys: 2**31 elements of k, of which the last clip is compared.
    case = Case(batch=1, queries=4, keys=1 << 20, heads=8, dim=32)
    one = make(case, torch.bfloat16, "cuda")
    mask = one.mask
    assert isinstance(mask, Tensor)
    many = [x.expand(9, *x.shape[1:]).contiguous() for x in one.leaves]
    got = masked_cross_attention(*many, mask.expand(9, -1, -1), backend="triton")
    want = masked_cross_attention(*one.leaves, mask, backend="triton")
    torch.testing.assert_close(got[-1:], want, rtol=2e-2, atol=2e-3)
