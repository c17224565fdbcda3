from __future__ import annotations

import importlib.util
import math
import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch
from torch import Tensor

from segblocks_kernels import ragged_cross_attention
from segblocks_kernels.ragged_cross_attention import xformers
from tests.kernels.ragged_cases import CUDA, assert_close, make, with_grads


class PackedLists(SimpleNamespace):
    """As much of xformers' BlockDiagonalMask as is called, and what it means."""

    @classmethod
    def from_seqlens(cls, q_seqlen: list[int], kv_seqlen: list[int], *, device: torch.device):
        assert all(isinstance(n, int) and n > 0 for n in (*q_seqlen, *kv_seqlen))
        return cls(queries=q_seqlen, keys=kv_seqlen, device=device)

    def allowed(self) -> Tensor:
        blocks = [torch.ones(n, m).bool() for n, m in zip(self.queries, self.keys, strict=True)]
        return torch.block_diag(*blocks).bool()


@pytest.fixture
def calls(monkeypatch) -> list[tuple[torch.Size, list[int]]]:
    """A stand-in for the package, whose operators run on no CPU; it notes widths and lengths."""
    noted: list[tuple[torch.Size, list[int]]] = []

    def memory_efficient_attention(query, key, value, attn_bias, scale):
        assert len({x.dtype for x in (query, key, value)}) == 1
        noted.append((key.shape, attn_bias.keys))
        scores = torch.einsum("bqmd,bkmd->bmqk", query, key) * scale
        weights = scores.masked_fill(~attn_bias.allowed(), -math.inf).softmax(-1)
        return torch.einsum("bmqk,bkmd->bqmd", weights, value)

    names = ("xformers", "xformers.ops", "xformers.ops.fmha", "xformers.ops.fmha.attn_bias")
    modules = {name: ModuleType(name) for name in names}
    modules["xformers.ops"].memory_efficient_attention = memory_efficient_attention
    modules["xformers.ops.fmha.attn_bias"].BlockDiagonalMask = PackedLists
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    return noted


def attend(q, k, v, indices, offsets, bias) -> Tensor:
    scale = 1 / math.sqrt(q.shape[-1])
    return xformers.ragged_cross_attention_xformers(q, k, v, indices, offsets, bias, scale)


@pytest.mark.parametrize("biased", [True, False])
def test_lists_are_packed_without_padding(biased, calls):
    inputs = make([3, 0, 1, 5, 0])
    inputs = inputs if biased else inputs._replace(bias=None)
    leaves = [x.requires_grad_() for x in inputs.leaves]
    want = ragged_cross_attention(*inputs)
    got = attend(*inputs)
    torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-13)
    grads = (torch.autograd.grad(x.square().sum(), leaves) for x in (got, want))
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)
    # Nine edges; four channels, with two for the bias, in rows of eight.
    assert calls == [(torch.Size((1, 9, 2, 8)), [3, 1, 5])]


def test_an_edge_at_minus_infinity_is_not_packed(calls):
    inputs = make([3, 2])
    inputs.bias[[1, 3, 4]] = -torch.inf
    leaves = [x.requires_grad_() for x in inputs.leaves]
    got = attend(*inputs)
    torch.testing.assert_close(got, ragged_cross_attention(*inputs), rtol=1e-12, atol=1e-13)
    assert calls == [(torch.Size((1, 2, 2, 8)), [2])]
    assert all(x.isfinite().all() for x in torch.autograd.grad(got.sum(), leaves))


def test_no_edge_at_all(calls):
    inputs = make([0, 0])
    leaves = [x.requires_grad_() for x in inputs.leaves[:3]]
    got = attend(*inputs)
    assert not got.any()
    assert not any(x.any() for x in torch.autograd.grad(got.sum(), leaves))
    assert calls == []


def test_a_bias_in_half_precision_keeps_what_rounding_takes():
    inputs = make([40], 40, dtype=torch.bfloat16)
    assert (inputs.bias.bfloat16().double() - inputs.bias.double()).abs().max() > 2e-3
    queries, keys = xformers._with_bias(inputs.q, inputs.k, inputs.bias, 0.5)
    assert queries.dtype == keys.dtype == torch.bfloat16
    extra = (queries[..., 4:].double() * keys[..., 4:].double()).sum(-1) * 0.5
    torch.testing.assert_close(
        extra, inputs.bias.double()[:, None].expand(-1, 2), rtol=0, atol=2e-5
    )


def test_it_says_why_it_cannot_run(monkeypatch):
    inputs = make([3], dtype=torch.float32)
    with pytest.raises(ValueError, match="run on CUDA only, not on device 'cpu'"):
        ragged_cross_attention(*inputs, backend="xformers")
    with pytest.raises(ValueError, match="xformers has no kernel for float64"):
        ragged_cross_attention(*inputs.exact(), backend="xformers")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    reason = xformers.xformers_unavailable(torch.device("cuda"))
    assert reason == "xformers is not installed; `pip install 'segblocks[xformers]'`"


@pytest.mark.parametrize("device", [CUDA])
@pytest.mark.parametrize(
    ("dtype", "bound"), [(torch.float32, 2e-3), (torch.float16, 4e-3), (torch.bfloat16, 3e-2)]
)
def test_on_a_gpu(dtype, bound, device):
    pytest.importorskip("xformers")
    inputs = make([40, 1, 0, 63], 30, 8, 32, dtype, device)
    got = with_grads(inputs, "xformers")
    assert_close(got, with_grads(inputs.exact(), "reference"), bound)
