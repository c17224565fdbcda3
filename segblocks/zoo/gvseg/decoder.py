"""The decoder of GvSeg, and what its last masks look like."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from segblocks.nn import (
    DecoderContext,
    FeedForward,
    LinearClassHead,
    MaskedCrossAttention,
    MaskEmbedding,
    Predict,
    Queries,
    SelfAttention,
    ShapePositionDescriptor,
    ShapePositionInjection,
    mlp,
)
from segblocks.nn.shape_position_injection import selected_masks
from segblocks.zoo.clip_model import STRIDES
from segblocks.zoo.gvseg.config import GvSegConfig

THING_GROUPS = ("instance", "object", "object_background")


def decoder_steps(
    config: GvSegConfig, num_classes: int, descriptor: ShapePositionDescriptor
) -> list[nn.Module]:
    """List the steps of the decoder: those of Mask2Former, with the injection in between.

    Args:
        config: the numbers.
        num_classes: K of the vocabulary; the classifier has one more, of hinted objects.
        descriptor: of masks.
    """
    dim = config.embed_dim
    predict = Predict(
        nn.LayerNorm(dim),
        MaskEmbedding(mlp(dim, dim, dim, dim)),
        LinearClassHead(dim, num_classes + 1),
    )
    injection = [ShapePositionInjection(descriptor, groups=THING_GROUPS)] * config.injection
    steps: list[nn.Module] = [predict]
    for layer in range(config.decoder_layers):
        steps += [
            MaskedCrossAttention(dim, config.num_heads, stride=STRIDES[layer % len(STRIDES)]),
            *injection,
            SelfAttention(dim, config.num_heads),
            FeedForward(dim, config.decoder_hidden_dim),
            predict,
        ]
    return steps


@torch.no_grad()
def thing_shapes(
    descriptor: ShapePositionDescriptor, queries: Queries, context: DecoderContext
) -> Tensor:
    """Describe the masks that things have at the end.

    Args:
        descriptor: of masks.
        queries: Q of them, with their groups.
        context: of a decoder that has run.

    Returns:
        (B, Q, T, C) float32, zero for all but things.
    """
    assert context.mask_features is not None
    clips, number = queries.content.shape[:2]
    groups = [queries.groups.get(group, slice(0, 0)) for group in THING_GROUPS]
    things = [place for group in groups for place in range(number)[group]]
    places = torch.tensor(things, dtype=torch.long, device=queries.content.device).repeat(clips)
    batch = torch.arange(clips, device=places.device).repeat_interleave(len(things))
    found = descriptor(selected_masks(context, batch, places), context.canvas)
    num_frames, dim = context.mask_features.shape[1], descriptor.embed_dim
    shapes = found.vector.new_zeros(clips, number, num_frames, dim, dtype=torch.float32)
    shapes[batch, places] = found.vector
    return shapes
