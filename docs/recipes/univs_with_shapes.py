"""A UniVS that is told what the masks it predicts look like: GvSeg's descriptor in another system.

    python -m docs.recipes.train univs_with_shapes --out runs/univs_with_shapes

Shape and position are a step of the decoder, so that they go where there are predictions: here
between the attention to pixels and the attention to queries, for learnable queries and for those
of visual prompts. Nothing else of UniVS changes, and the step has no parameters.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

from segblocks.nn import (
    Decoder,
    MaskedCrossAttention,
    ShapePositionDescriptor,
    ShapePositionInjection,
)
from segblocks.zoo.clip_model import STRIDES
from segblocks.zoo.univs import UniVS, UniVSConfig

# Of a mask at stride 4, in pixels; objects of the synthetic world are small.
MIN_AREA = 8


class UniVSWithShapes(UniVS):
    """UniVS whose queries get shape-position descriptors after each look at the pixels."""

    def __init__(self, config: UniVSConfig | None = None) -> None:
        super().__init__(config)
        dim = self.config.embed_dim
        injection = ShapePositionInjection(
            ShapePositionDescriptor(dim), groups=("learnable", "visual"), min_area=MIN_AREA
        )
        steps = list(with_injections(self.decoder.steps, injection))
        self.decoder = Decoder(steps, dim, strides=STRIDES, time=self.config.time)


def with_injections(steps: tuple[nn.Module, ...], injection: nn.Module) -> Iterator[nn.Module]:
    """Put an injection after each attention to pixels."""
    for step in steps:
        yield step
        if isinstance(step, MaskedCrossAttention):
            yield injection
