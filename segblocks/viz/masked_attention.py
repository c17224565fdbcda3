"""Where queries may attend in each layer of a masked decoder."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from segblocks.nn.decoder_steps import MaskedCrossAttention
from segblocks.viz.capture import Call


class AttentionMask(NamedTuple):
    """The mask of one masked cross-attention.

    Args:
        stride: of the level that was attended to.
        mask: (B, Q, T, h, w) bool at that level, where the query may attend.
        is_open: (B, Q), or (B, Q, T) where queries attend to their own frame only; True where the
            predicted mask was empty and the query attended everywhere.
    """

    stride: int
    mask: Tensor
    is_open: Tensor

    def resized(self, height: int, width: int) -> Tensor:
        """The mask in pixels of the padded frame, (B, Q, T, height, width)."""
        frames = self.mask.flatten(0, 1).float()
        resized = F.interpolate(frames, size=(height, width), mode="nearest")
        return (resized > 0).unflatten(0, self.mask.shape[:2])


@torch.no_grad()
def attention_masks(calls: Sequence[Call]) -> list[AttentionMask]:
    """Compute the masks of captured masked cross-attentions.

    A query attends where the sigmoid of its last predicted mask, resized to the level, is at least
    0.5, and everywhere where that is nowhere (Mask2Former section 3.2.1).

    Args:
        calls: of :class:`~segblocks.nn.MaskedCrossAttention`, in the order of the layers.

    Returns:
        One mask a call.

    Raises:
        TypeError: a call of another module.

    Example:
        >>> from segblocks.nn import Decoder, MaskEmbedding, Predict, Queries, mlp
        >>> from segblocks.viz import capture
        >>> predict = Predict(torch.nn.LayerNorm(8), MaskEmbedding(mlp(8, 8)))
        >>> decoder = Decoder([predict, MaskedCrossAttention(8, 2, stride=8)], 8, strides=(8,))
        >>> context = decoder.context({s: torch.randn(1, 2, 8, 32 // s, 64 // s) for s in (4, 8)})
        >>> content = torch.randn(1, 5, 8)
        >>> with capture(decoder, MaskedCrossAttention) as calls:
        ...     _ = decoder(Queries(content, content, {"any": slice(0, 5)}), context)
        >>> attention_masks(calls)[0].mask.shape
        torch.Size([1, 5, 2, 4, 8])
    """
    return [_attention_mask(call) for call in calls]


def _attention_mask(call: Call) -> AttentionMask:
    step = call.module
    if not isinstance(step, MaskedCrossAttention):
        raise TypeError(
            f"attention_masks: calls must be of MaskedCrossAttention, got {type(step).__name__}"
        )
    context = call.inputs["context"]
    features = context.levels[step.stride].mask_features
    embeddings = context.prediction.mask_embeddings
    # Under autocast the two may be in different types.
    dtype = torch.promote_types(embeddings.dtype, features.dtype)
    embeddings, features = embeddings.to(dtype), features.to(dtype)
    equation = "bqtc,btnc->bqtn" if step.per_frame else "bqc,btnc->bqtn"
    inside = torch.einsum(equation, embeddings, features) >= 0
    is_open = ~(inside.any(-1) if step.per_frame else inside.flatten(2).any(-1))
    mask = inside | (is_open[..., None] if step.per_frame else is_open[..., None, None])
    height = _height(features.shape[2], context.mask_features)
    return AttentionMask(
        step.stride, rearrange(mask, "b q t (h w) -> b q t h w", h=height), is_open
    )


def _height(num_tokens: int, mask_features: Tensor) -> int:
    """Rows of a level that has the aspect of the mask features."""
    rows, columns = mask_features.shape[-2:]
    return round(math.sqrt(num_tokens * rows / columns))
