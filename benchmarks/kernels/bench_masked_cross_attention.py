"""Masked cross-attention against what Mask2Former-style decoders run today."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from segblocks_kernels import masked_cross_attention


class Setting(NamedTuple):
    batch: int
    queries: int
    keys: int


ON_CUDA = {
    "B2_Q100_K19440": Setting(2, 100, 19440),
    "B1_Q200_K51840": Setting(1, 200, 51840),
    "512x896_T3_stride8": Setting(1, 100, 21504),
    "512x896_T12_stride8": Setting(1, 100, 86016),
}
ON_CPU = {
    "512x896_T3_stride32": Setting(1, 100, 1344),
    "512x896_T3_stride16": Setting(1, 100, 5376),
}
WHERE = [("cpu", name) for name in ON_CPU]
WHERE += [
    pytest.param(
        "cuda",
        name,
        marks=[
            pytest.mark.gpu,
            pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
        ],
    )
    for name in ON_CUDA
]
DTYPES = {"cpu": torch.float32, "cuda": torch.bfloat16}


def per_head_mask(logits: Tensor, heads: int) -> Tensor:
    """The mask as the official decoders hand it over: a copy a head, True where blocked."""
    blocked = (logits.sigmoid() < 0.5).unsqueeze(1).repeat(1, heads, 1, 1).flatten(0, 1)
    blocked[torch.where(blocked.sum(-1) == blocked.shape[-1])] = False
    return blocked


def sdpa_with_mask_per_head(q: Tensor, k: Tensor, v: Tensor, logits: Tensor) -> Tensor:
    keep = ~per_head_mask(logits, q.shape[2]).unflatten(0, (q.shape[0], q.shape[2]))
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v, attn_mask=keep).transpose(1, 2)


def softmax_with_mask_per_head(q: Tensor, k: Tensor, v: Tensor, logits: Tensor) -> Tensor:
    batch, _, heads, dim = q.shape
    q, k, v = (x.transpose(1, 2).flatten(0, 1) for x in (q, k, v))
    scores = torch.bmm(q * dim**-0.5, k.mT)
    scores = scores.masked_fill(per_head_mask(logits, heads), -torch.inf)
    return torch.bmm(scores.softmax(-1), v).unflatten(0, (batch, heads)).transpose(1, 2)


CONTENDERS: dict[str, Callable[..., Tensor]] = {
    "ours": masked_cross_attention,
    "sdpa_with_mask_per_head": sdpa_with_mask_per_head,
    "softmax_with_mask_per_head": softmax_with_mask_per_head,
}


@pytest.mark.parametrize("direction", ["forward", "forward_backward"])
@pytest.mark.parametrize("contender", CONTENDERS)
@pytest.mark.parametrize(("device", "name"), WHERE)
def bench_masked_cross_attention(name, contender, direction, device, bench, benchmark):
    setting = (ON_CUDA | ON_CPU)[name]
    dtype = DTYPES[device]
    benchmark.group = f"masked_cross_attention {name} {direction} {device} {dtype}"
    q = torch.randn(setting.batch, setting.queries, 8, 32, dtype=dtype, device=device)
    k, v = torch.randn(2, setting.batch, setting.keys, 8, 32, dtype=dtype, device=device)
    logits = torch.randn(setting.batch, setting.queries, setting.keys, device=device) - 1.0
    logits[:, 0] = -1.0
    leaves = [x.requires_grad_(direction == "forward_backward") for x in (q, k, v)]
    with torch.no_grad():
        want = masked_cross_attention(q, k, v, logits)
        got = CONTENDERS[contender](q, k, v, logits)
        torch.testing.assert_close(got, want, rtol=2e-2, atol=2e-2)
    weight = torch.randn_like(want)

    def forward() -> Tensor:
        return CONTENDERS[contender](q, k, v, logits)

    def forward_backward() -> tuple[Tensor, ...]:
        return torch.autograd.grad(forward(), leaves, weight)

    bench(forward if direction == "forward" else forward_backward)
