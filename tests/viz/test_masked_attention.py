"""Masks of masked attention, against what the steps attended to."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from segblocks.nn import (
    Decoder,
    MaskedCrossAttention,
    MaskEmbedding,
    MultiheadAttention,
    Predict,
    Queries,
    mlp,
)
from segblocks.ops import masked_cross_attention
from segblocks.viz import AttentionMask, Call, attention_masks, capture

STRIDES = (16, 8)
SIZE = (32, 64)


def run(per_frame: bool) -> tuple[list[Call], list[Call]]:
    """The calls of two masked attentions, and of the attention inside them."""
    torch.manual_seed(0)
    predict = Predict(nn.LayerNorm(16), MaskEmbedding(mlp(16, 16)))
    attend = [MaskedCrossAttention(16, 4, stride=s, per_frame=per_frame) for s in STRIDES]
    decoder = Decoder([predict, attend[0], predict, attend[1]], 16, strides=STRIDES).double()
    features = {s: torch.randn(2, 3, 16, SIZE[0] // s, SIZE[1] // s).double() for s in (4, 8, 16)}
    # Most logits are below 0, so that some queries have a small mask and some an empty one.
    features[4] -= 0.3
    shape = (2, 7, 3, 16) if per_frame else (2, 7, 16)
    content, position = torch.randn(2, *shape).double()
    queries = Queries(content, position, {"any": slice(0, 7)})
    with (
        capture(decoder, MultiheadAttention) as inner,
        capture(decoder, MaskedCrossAttention) as calls,
        torch.no_grad(),
    ):
        decoder(queries, decoder.context(features))
    return calls, inner


def rows(mask: Tensor, per_frame: bool) -> Tensor:
    """The mask (B, Q, T, h, w) as attention takes it."""
    return mask.flatten(3).transpose(1, 2).flatten(0, 1) if per_frame else mask.flatten(2)


@pytest.mark.parametrize("per_frame", [False, True])
def test_attention_in_these_masks_is_what_the_step_returned(per_frame: bool) -> None:
    calls, inner = run(per_frame)
    masks = attention_masks(calls)
    assert [mask.stride for mask in masks] == list(STRIDES)
    for mask, call in zip(masks, inner, strict=True):
        assert mask.mask.shape == (2, 7, 3, SIZE[0] // mask.stride, SIZE[1] // mask.stride)
        keep = rows(mask.mask, per_frame)

        def attend(q: Tensor, k: Tensor, v: Tensor, keep: Tensor = keep) -> Tensor:
            return masked_cross_attention(q, k, v, keep)

        inputs = [call.inputs[name] for name in ("query", "key", "value")]
        torch.testing.assert_close(call.module(*inputs, attend), call.output)


def test_empty_masks_are_open() -> None:
    calls, _ = run(per_frame=False)
    prediction = calls[0].inputs["context"].prediction
    prediction.mask_embeddings[0, 3] = 0
    level = calls[0].inputs["context"].levels[16].mask_features
    prediction.mask_embeddings[1, 2] = -level[1].flatten(0, 1).mean(0) * 1e3
    level[1] = level[1].mean((0, 1))
    mask = attention_masks(calls)[0]
    assert mask.mask[0, 3].all()
    assert not mask.is_open[0, 3]
    assert mask.is_open[1, 2]
    assert mask.mask[1, 2].all()


def test_embeddings_and_features_may_be_of_two_types() -> None:
    calls, _ = run(per_frame=False)
    expected = attention_masks(calls)[0].mask
    context = calls[0].inputs["context"]
    embeddings = context.prediction.mask_embeddings.bfloat16()
    context.prediction = replace(context.prediction, mask_embeddings=embeddings)
    found = attention_masks(calls)[0].mask
    assert (found == expected).float().mean() > 0.95


def test_masks_grow_to_the_size_of_the_frame() -> None:
    small = torch.rand(1, 2, 3, 2, 4) < 0.5
    mask = AttentionMask(16, small, torch.zeros(1, 2, dtype=torch.bool))
    large = mask.resized(*SIZE)
    assert torch.equal(large, small.repeat_interleave(16, 3).repeat_interleave(16, 4))


def test_only_masked_attention_has_masks() -> None:
    with pytest.raises(TypeError, match="of MaskedCrossAttention, got Linear"):
        attention_masks([Call("x", nn.Linear(2, 2), {}, None)])
