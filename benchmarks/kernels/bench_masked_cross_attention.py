"""Masked cross-attention against what Mask2Former-style decoders run today."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from segblocks_kernels import MaskFromFeatures, masked_cross_attention

HEADS, HEAD_DIM, CHANNELS = 8, 32, 256


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
GPU = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]
WHERE = [("cpu", name, torch.float32) for name in ON_CPU]
WHERE += [
    pytest.param("cuda", name, dtype, marks=GPU)
    for name in ON_CUDA
    for dtype in (torch.bfloat16, torch.float32)
]


class Inputs(NamedTuple):
    """Queries, keys and values (B, rows, M, D), and the factors of the mask's logits."""

    q: Tensor
    k: Tensor
    v: Tensor
    embeddings: Tensor
    features: Tensor

    @property
    def logits(self) -> Tensor:
        return self.embeddings @ self.features.mT


def per_head_mask(logits: Tensor, heads: int) -> Tensor:
    """The mask as the official decoders hand it over: a copy a head, True where blocked."""
    blocked = (logits.sigmoid() < 0.5).unsqueeze(1).repeat(1, heads, 1, 1).flatten(0, 1)
    blocked[torch.where(blocked.sum(-1) == blocked.shape[-1])] = False
    return blocked


def ours(inputs: Inputs) -> Tensor:
    q, k, v, embeddings, features = inputs
    return masked_cross_attention(q, k, v, MaskFromFeatures(embeddings, features))


def ours_from_logits(inputs: Inputs) -> Tensor:
    q, k, v, *_ = inputs
    return masked_cross_attention(q, k, v, inputs.logits)


def ours_reference(inputs: Inputs) -> Tensor:
    q, k, v, embeddings, features = inputs
    mask = MaskFromFeatures(embeddings, features)
    return masked_cross_attention(q, k, v, mask, backend="reference")


def sdpa_with_mask_per_head(inputs: Inputs) -> Tensor:
    keep = ~per_head_mask(inputs.logits, HEADS).unflatten(0, (-1, HEADS))
    q, k, v = (x.transpose(1, 2) for x in inputs[:3])
    return F.scaled_dot_product_attention(q, k, v, attn_mask=keep).transpose(1, 2)


def sdpa_math(inputs: Inputs) -> Tensor:
    with sdpa_kernel(SDPBackend.MATH):
        return sdpa_with_mask_per_head(inputs)


@cache
def multihead_attention(device: torch.device, dtype: torch.dtype) -> nn.MultiheadAttention:
    """Attention whose projections are identities, so that it computes what the others do."""
    attention = nn.MultiheadAttention(HEADS * HEAD_DIM, HEADS, device=device, dtype=dtype)
    identity = torch.eye(HEADS * HEAD_DIM, device=device, dtype=dtype)
    attention.in_proj_weight.data.copy_(identity.repeat(3, 1))
    attention.out_proj.weight.data.copy_(identity)
    return attention.requires_grad_(False)


def mask2former_multihead_attention(inputs: Inputs) -> Tensor:
    """As the official decoders call it, four projections included."""
    q, k, v = (x.flatten(2).transpose(0, 1) for x in inputs[:3])
    blocked = per_head_mask(inputs.logits, HEADS)
    attention = multihead_attention(q.device, q.dtype)
    attended = attention(query=q, key=k, value=v, attn_mask=blocked)[0]
    return attended.transpose(0, 1).unflatten(2, (HEADS, HEAD_DIM))


@cache
def compiled_flex_attention() -> Callable[..., Any]:
    from torch.nn.attention.flex_attention import flex_attention

    return torch.compile(flex_attention)


def flex_attention_with_block_mask(inputs: Inputs) -> Tensor:
    """The block mask is built anew, since each layer of a decoder predicts another."""
    from torch.nn.attention.flex_attention import create_block_mask

    keep = inputs.logits >= 0
    keep = keep | ~keep.any(dim=-1, keepdim=True)
    q, k, v = (x.transpose(1, 2) for x in inputs[:3])
    sizes = (q.shape[0], None, q.shape[2], k.shape[2])

    def inside(b: Tensor, h: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return keep[b, query, key]

    block_mask = create_block_mask(inside, *sizes, device=str(q.device))
    return compiled_flex_attention()(q, k, v, block_mask=block_mask).transpose(1, 2)


CONTENDERS: dict[str, Callable[[Inputs], Tensor]] = {
    "ours": ours,
    "ours_from_logits": ours_from_logits,
    "ours_reference": ours_reference,
    "sdpa_with_mask_per_head": sdpa_with_mask_per_head,
    "sdpa_math": sdpa_math,
    "mask2former_multihead_attention": mask2former_multihead_attention,
    "flex_attention_with_block_mask": flex_attention_with_block_mask,
}
ON_CUDA_ONLY = {"flex_attention_with_block_mask", "ours_reference"}


def make_inputs(setting: Setting, device: str, dtype: torch.dtype) -> Inputs:
    """A third of the keys inside the mask, and one query whose mask is empty."""
    batch, queries, keys = setting

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, device=device).to(dtype)

    embeddings, features = draw(batch, queries, CHANNELS), draw(batch, keys, CHANNELS)
    features[..., 0] = -8.0
    embeddings[..., 0] = 1.0
    embeddings[:, 0, 1:] = 0.0
    heads = (HEADS, HEAD_DIM)
    return Inputs(
        draw(batch, queries, *heads),
        draw(batch, keys, *heads),
        draw(batch, keys, *heads),
        embeddings,
        features,
    )


@pytest.mark.parametrize("direction", ["forward", "forward_backward"])
@pytest.mark.parametrize("contender", CONTENDERS)
@pytest.mark.parametrize(("device", "name", "dtype"), WHERE)
def bench_masked_cross_attention(name, contender, direction, dtype, device, bench, benchmark):
    if device == "cpu" and contender in ON_CUDA_ONLY:
        pytest.skip("on the CPU ours is the reference, and FlexAttention is for GPUs")
    benchmark.group = f"masked_cross_attention {name} {direction} {device} {dtype}"
    inputs = make_inputs((ON_CUDA | ON_CPU)[name], device, dtype)
    run = CONTENDERS[contender]
    with torch.no_grad():
        want = ours_from_logits(inputs)
        # Logits near zero may be decided otherwise where they are rounded otherwise.
        error = (run(inputs).float() - want.float()).norm() / want.float().norm()
        assert error < 5e-2
    leaves = [x.requires_grad_(direction == "forward_backward") for x in inputs[:3]]
    weight = torch.randn_like(want)

    def forward() -> Tensor:
        return run(inputs)

    def forward_backward() -> tuple[Tensor, ...]:
        return torch.autograd.grad(run(inputs), leaves, weight)

    bench(forward if direction == "forward" else forward_backward)
