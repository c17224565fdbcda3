"""A query decoder as a list of steps."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import torch
from einops import rearrange
from torch import Tensor, nn

from segblocks.nn.clip_output import Prediction
from segblocks.nn.position import sine_position_3d
from segblocks.nn.queries import Queries
from segblocks.ops import resize_features


@dataclass(frozen=True)
class Level:
    """One level of a clip's features, as the decoder attends to it.

    Args:
        tokens: (B, T, h * w, C), the features with their level's embedding.
        positions: (T, h * w, C), added to keys and not to values.
        mask_features: (B, T, h * w, C), the mask features resized to this level.
    """

    tokens: Tensor
    positions: Tensor
    mask_features: Tensor


@dataclass(frozen=True)
class Memory:
    """Tokens beside the video that a step may attend to: prompts, a taxonomy, words.

    A step that gives each query tokens of its own, such as ``PromptCrossAttention``, says which
    shapes it takes instead.

    Args:
        tokens: (B, N, C).
        positions: (B or 1, N, C), or None.
        mask: (B, Q, N), True = attend, or None for all.
    """

    tokens: Tensor
    positions: Tensor | None = None
    mask: Tensor | None = None


@dataclass
class DecoderContext:
    """What the steps of a decoder read besides the queries, and where predictions are kept.

    Args:
        levels: stride -> level.
        memory: name -> memory; a system adds its own.
        prediction: the latest prediction; the next masked attention takes its mask from it.
        predictions: all predictions so far.
        select: which queries an expensive step may work on: prediction -> bool (B, Q). Inference
            passes a rule on confidence, training the matched queries; None means all.
        mask_features: (B, T, C, h, w), for steps that look at whole masks, or None.
        canvas: height and width that the frames take of ``mask_features``, the rest being padding;
            None for all.
        generator: on the CPU, of what the steps draw in training; None is torch's global one.
    """

    levels: dict[int, Level]
    memory: dict[str, Memory] = field(default_factory=dict)
    prediction: Prediction | None = None
    predictions: list[Prediction] = field(default_factory=list)
    select: Callable[[Prediction], Tensor] | None = None
    mask_features: Tensor | None = None
    canvas: tuple[int, int] | None = None
    generator: torch.Generator | None = None

    def record(self, prediction: Prediction) -> None:
        """Make a prediction the latest one, and keep it."""
        self.prediction = prediction
        self.predictions.append(prediction)


class DecoderStep(Protocol):
    """A module that refines queries: ``(queries, context) -> queries``."""

    def __call__(self, queries: Queries, context: DecoderContext) -> Queries: ...


class DecoderOutput(NamedTuple):
    """The refined queries, and the predictions made on the way, the first one first."""

    queries: Queries
    predictions: tuple[Prediction, ...]


class Decoder(nn.Module):
    """Refine queries by a list of steps, of which prediction is one.

    Mask2Former, TarViS, GvSeg, UniVS and TMT-VIS differ in the list and in the memories; the
    loop over it is the whole decoder. A step that stands in the list several times shares its
    weights between these places.

    Args:
        steps: modules ``(queries, context) -> queries``.
        embed_dim: C.
        strides: of the levels that steps attend to; each has an embedding, added to its features.
        mask_stride: of the mask features.
        time: "relative" places frame t at (t + 1) / T (Mask2Former-VIS, TarViS), "absolute" at
            its index / 128 (UniVS; needs ``frame_indices``).

    Example:
        >>> from segblocks.nn import FeedForward, MaskEmbedding, Predict, Queries, mlp
        >>> predict = Predict(torch.nn.LayerNorm(32), MaskEmbedding(mlp(32, 32)))
        >>> decoder = Decoder([predict, FeedForward(32, 64), predict], 32, strides=(8,))
        >>> context = decoder.context({s: torch.zeros(1, 2, 32, 64 // s, 64 // s) for s in (4, 8)})
        >>> queries = Queries(torch.zeros(1, 5, 32), torch.zeros(1, 5, 32), {"any": slice(0, 5)})
        >>> refined, predictions = decoder(queries, context)
        >>> len(predictions), predictions[-1].mask_embeddings.shape
        (2, torch.Size([1, 5, 32]))
    """

    no_decay_names = ("level_embedding",)

    def __init__(
        self,
        steps: Iterable[nn.Module],
        embed_dim: int,
        *,
        strides: Sequence[int] = (32, 16, 8),
        mask_stride: int = 4,
        time: str = "relative",
    ) -> None:
        super().__init__()
        if time not in ("relative", "absolute"):
            raise ValueError(f"Decoder: time must be 'relative' or 'absolute', got {time!r}")
        listed = list(steps)
        strangers = [step for step in listed if not isinstance(step, nn.Module)]
        if strangers:
            raise TypeError(f"Decoder: steps must be modules, got {strangers[0]!r}")
        distinct = list(dict.fromkeys(listed))
        self.blocks = nn.ModuleList(distinct)
        self._order = [distinct.index(step) for step in listed]
        self.strides = tuple(strides)
        self.mask_stride = mask_stride
        self.time = time
        self.level_embedding = nn.Parameter(torch.randn(len(self.strides), embed_dim))

    @property
    def steps(self) -> tuple[nn.Module, ...]:
        """The steps in the order in which they run."""
        return tuple(self.blocks[i] for i in self._order)

    def context(
        self,
        features: Mapping[int, Tensor],
        frame_indices: Sequence[int] | Tensor | None = None,
    ) -> DecoderContext:
        """Prepare a clip's features.

        Attention masks come from the mask features resized to each level, once a clip, and never
        from full-resolution logits (see :func:`segblocks.ops.resize_features`).

        Args:
            features: stride -> (B, T, C, h, w), with ``mask_stride`` among them.
            frame_indices: T indices of the frames in their video, for absolute time.

        Returns:
            A context without memories and predictions.

        Raises:
            ValueError: a stride is missing, or absolute time lacks ``frame_indices``.
        """
        missing = [s for s in (*self.strides, self.mask_stride) if s not in features]
        if missing:
            raise ValueError(f"Decoder: features lack strides {missing}, got {tuple(features)}")
        if self.time == "absolute" and frame_indices is None:
            raise ValueError("Decoder: absolute time needs frame_indices, got None")
        indices = frame_indices if self.time == "absolute" else None
        mask_features = features[self.mask_stride]
        return DecoderContext(
            {
                stride: _level(features[stride], embedding, mask_features, indices)
                for stride, embedding in zip(self.strides, self.level_embedding, strict=True)
            },
            mask_features=mask_features,
        )

    def forward(self, queries: Queries, context: DecoderContext) -> DecoderOutput:
        """Run the steps.

        Args:
            queries: (B, Q, C), or (B, Q, T, C) where the steps work a frame at a time.
            context: from :meth:`context`; what an earlier run predicted is dropped from it.

        Returns:
            The refined queries and all predictions.

        Raises:
            TypeError: a step returns something other than :class:`Queries`.
        """
        context.prediction = None
        context.predictions = []
        for step in self.steps:
            queries = step(queries, context)
            if not isinstance(queries, Queries):
                raise TypeError(
                    f"Decoder: steps must return Queries, got {type(queries).__name__} from "
                    f"{type(step).__name__}"
                )
        return DecoderOutput(queries, tuple(context.predictions))


def _level(
    features: Tensor,
    embedding: Tensor,
    mask_features: Tensor,
    frame_indices: Sequence[int] | Tensor | None,
) -> Level:
    _, frames, channels, height, width = features.shape
    positions = sine_position_3d(
        frames,
        height,
        width,
        channels,
        frame_indices=frame_indices,
        device=features.device,
        dtype=torch.promote_types(features.dtype, torch.float32),
    )
    resized = resize_features(mask_features, (height, width))
    return Level(
        tokens=rearrange(features, "b t c h w -> b t (h w) c") + embedding,
        positions=rearrange(positions, "t h w c -> t (h w) c").to(features.dtype),
        mask_features=rearrange(resized, "b t c h w -> b t (h w) c"),
    )
