"""The list of steps that UniVS' decoder is."""

from __future__ import annotations

from torch import nn

from segblocks.nn import (
    CosineClassHead,
    FeedForward,
    GroundedMaskEmbedding,
    MaskedCrossAttention,
    PredictByText,
    PromptCrossAttention,
    SeparatedSelfAttention,
    mlp,
)
from segblocks.zoo.clip_model import STRIDES
from segblocks.zoo.univs.config import UniVSConfig
from segblocks.zoo.univs.prompts import PROMPT_TYPES


def decoder_steps(config: UniVSConfig) -> list[nn.Module]:
    """List the steps of the decoder: prompts, a prediction, and after each round another.

    Args:
        config: the numbers.
    """
    dim, heads = config.embed_dim, config.num_heads
    predict = PredictByText(
        nn.LayerNorm(dim),
        GroundedMaskEmbedding(
            mlp(dim, dim, dim, dim),
            average=config.grounding_average,
            permute_time=config.permute_time,
        ),
        CosineClassHead(dim, config.text_dim),
    )
    steps: list[nn.Module] = []
    for layer in range(config.decoder_layers):
        steps.append(
            PromptCrossAttention(dim, heads, groups=PROMPT_TYPES, replace_position=layer == 0)
        )
        if layer == 0:
            steps.append(predict)
        stride = STRIDES[layer % len(STRIDES)]
        steps += [
            MaskedCrossAttention(dim, heads, stride=stride, per_frame=True),
            SeparatedSelfAttention(dim, heads, mode=config.separation),
            FeedForward(dim, config.decoder_hidden_dim),
            predict,
        ]
    return steps
