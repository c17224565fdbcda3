"""Small models of all five systems, and what their decoders are called with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from segblocks.nn import Decoder, DecoderContext, Memory, Prediction, Queries
from segblocks.tasks import VIS
from segblocks.zoo.registry import get_entry

SIZE = (64, 96)
SMALL = {
    "embed_dim": 32,
    "num_heads": 4,
    "neck_layers": 1,
    "neck_hidden_dim": 32,
    "decoder_layers": 2,
    "decoder_hidden_dim": 32,
}
HASHED_TEXT = {"text_encoder": "hash/16", "text_dim": 16}
OVERRIDES: dict[str, dict[str, Any]] = {
    "tarvis": {"encoder_layers": 1, "encoder_hidden_dim": 32, "num_instance_queries": 10},
    "mask2former_vis": {"num_queries": 10},
    "tmt_vis": {"num_queries": 10, **HASHED_TEXT},
    "univs": {"num_queries": 10, **HASHED_TEXT},
    "gvseg": {"num_queries": 10},
}
SYSTEMS = tuple(OVERRIDES)


def small_model(system: str, **overrides: Any) -> Any:
    """A model with random weights; ``overrides`` are fields of its config."""
    entry = get_entry(f"{system}_nano")
    torch.manual_seed(0)
    fields = {**SMALL, **OVERRIDES[system], **overrides}
    return entry.model_class(replace(entry.config, **fields)).eval()


@dataclass
class DecoderInputs:
    """The tensors that a decoder gets, and what stays the same from clip to clip.

    Args:
        content: of the queries.
        position: of the queries.
        memories: name -> tokens, positions, mask.
        times: (T,), where the decoder wants them, or None.
        groups: of the queries.
        canvas: of the context.
        select: of the context.
    """

    content: Tensor
    position: Tensor
    memories: dict[str, tuple[Tensor | None, ...]]
    times: Tensor | None
    groups: dict[str, slice]
    canvas: tuple[int, int] | None
    select: Callable[[Prediction], Tensor] | None

    @property
    def tensors(self) -> tuple[Any, ...]:
        """What changes from clip to clip."""
        return self.content, self.position, self.memories, self.times


class _Called(Exception):  # noqa: N818
    """The decoder has what it is called with."""


@torch.no_grad()
def decoder_inputs(model: Any, num_frames: int, tasks: Sequence[Any] = ()) -> DecoderInputs:
    """Run a model as far as its decoder."""
    seen: list[Any] = []

    def look(module: nn.Module, arguments: tuple[Any, ...]) -> None:
        seen.extend(arguments)
        raise _Called

    handle = model.decoder.register_forward_pre_hook(look)
    try:
        model(torch.rand(1, num_frames, 3, *SIZE) * 255, tasks or VIS("coco_panoptic"))
    except _Called:
        pass
    finally:
        handle.remove()
    queries, context = seen
    return DecoderInputs(
        queries.content.contiguous(),
        queries.position.contiguous(),
        {name: (m.tokens, m.positions, m.mask) for name, m in context.memory.items()},
        torch.arange(num_frames) if model.decoder.time == "absolute" else None,
        dict(queries.groups),
        context.canvas,
        context.select,
    )


def decode_with(decoder: Decoder, inputs: DecoderInputs) -> Callable[..., list[Tensor]]:
    """A function of tensors that prepares a clip and decodes it."""
    groups, canvas, select = inputs.groups, inputs.canvas, inputs.select

    def decode(
        levels: dict[int, Tensor],
        content: Tensor,
        position: Tensor,
        memories: dict[str, tuple[Any, ...]],
        times: Tensor | None,
    ) -> list[Tensor]:
        context: DecoderContext = decoder.context(levels, times)
        context.memory = {name: Memory(*parts) for name, parts in memories.items()}
        context.canvas, context.select = canvas, select
        refined, predictions = decoder(Queries(content, position, groups), context)
        logits = [p.class_logits for p in predictions if p.class_logits is not None]
        return [refined.content, *(p.mask_embeddings for p in predictions), *logits]

    return decode


def pyramid(channels: dict[int, int], num_frames: int) -> dict[int, Tensor]:
    """A clip's features, stride -> (1, T, C, h, w)."""
    generator = torch.Generator().manual_seed(num_frames)
    return {
        stride: torch.randn(
            1, num_frames, dim, SIZE[0] // stride, SIZE[1] // stride, generator=generator
        )
        for stride, dim in channels.items()
    }
