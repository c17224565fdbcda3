"""A TarViS that takes sentences: a system that no paper describes, put together from the parts.

    python -m docs.recipes.train text_prompted_tarvis --out runs/text_prompted_tarvis

Sentences take the place of masks: what a sentence encoder says is turned into queries, which look
at the image once before the decoder refines them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from segblocks.nn import (
    ClipOutput,
    Decoder,
    FeedForward,
    LanguageToImageAttention,
    MaskedCrossAttention,
    MaskEmbedding,
    Predict,
    SelfAttention,
    concatenate_queries,
    mlp,
)
from segblocks.results import FrameResult, TrackSummary
from segblocks.tasks import RefVOS, as_tasks
from segblocks.text import get_text_encoder
from segblocks.tracking import LogitRows, VideoState, join
from segblocks.tracking.full_size import full_size_masks
from segblocks.zoo.clip_config import ClipConfig
from segblocks.zoo.clip_model import MASK_STRIDE, STRIDES, ClipModel, size_of

QUERIES = 4  # of a sentence, and of what is around all objects
TEXT_DIM = 384


class TextTarViS(ClipModel):
    """Segment what sentences describe, with TarViS' neck and decoder."""

    tasks = ("refvos",)

    def __init__(self, config: ClipConfig) -> None:
        super().__init__(config, cells={32: 2, 16: 4, 8: 8})
        dim, heads = config.embed_dim, config.num_heads
        self.encode = get_text_encoder("minilm")
        # Vectors of sentences are short: beside the biases of a layer they would all be one.
        self.speak = nn.Sequential(nn.LayerNorm(TEXT_DIM), nn.Linear(TEXT_DIM, QUERIES * dim))
        self.norm = nn.LayerNorm(dim)
        self.look = LanguageToImageAttention(dim, heads)
        self.background = nn.Parameter(torch.randn(QUERIES, dim))
        self.types = nn.Parameter(torch.randn(2, dim))
        predict = Predict(nn.LayerNorm(dim), MaskEmbedding(mlp(dim, dim, dim, dim)))
        steps = [predict]
        for layer in range(config.decoder_layers):
            steps += [
                MaskedCrossAttention(dim, heads, stride=STRIDES[layer % len(STRIDES)]),
                SelfAttention(dim, heads),
                FeedForward(dim, config.decoder_hidden_dim),
                predict,
            ]
        self.decoder = Decoder(steps, dim, strides=STRIDES)

    def forward(
        self, frames: Tensor, task: Any, *, frame_indices: Any = None, state: Any = None,
        features: Any = None,
    ) -> ClipOutput:  # fmt: skip
        """Segment one clip, as all models of the zoo do."""
        levels = self.neck(self.features_of(frames, features))
        output = self._decode(frames, levels, as_tasks(task)[0])
        indices = self.frame_indices(frame_indices, frames.shape[1], state)
        return replace(output, frame_indices=indices, state=state)

    def forward_clips(self, frames: Tensor, tasks: Any, **_: Any) -> tuple[ClipOutput, ...]:
        """Segment clips with sentences of their own, for training."""
        levels = self.neck(self.extract(frames))
        clips = [{s: x[b : b + 1] for s, x in levels.items()} for b in range(len(frames))]
        return tuple(
            self._decode(frames, clip, as_tasks(task)[0])
            for clip, task in zip(clips, tasks, strict=True)
        )

    def video_policy(self, task: Any, **settings: Any) -> AskEveryClip:
        """Say how a video is cut into clips, and how they join."""
        return AskEveryClip(as_tasks(task)[0], **settings)

    def _decode(self, frames: Tensor, levels: dict[int, Tensor], task: Any) -> ClipOutput:
        context = self.decoder.context(levels)
        sentences = self.encode(task.expressions).to(self.background)
        words = self.norm(self.speak(sentences).view(1, -1, self.config.embed_dim))
        # What a word sees in the whole clip: TarViS' queries have no frames.
        words = self.look(words, tuple(context.levels.values())).mean(dim=2)
        # Their position keeps what was said through all layers, as in UniVS.
        around, spoken = self.types[:, None, None]
        background = ("object_background", self.background[None], around)
        queries = concatenate_queries([background, ("object", words, words + spoken)])
        starts = range(QUERIES, queries.content.shape[1], QUERIES)
        slices = tuple(slice(start, start + QUERIES) for start in starts)
        predictions, features = self.decoder(queries, context).predictions, levels[MASK_STRIDE]
        place = size_of(frames), tuple(range(frames.shape[1]))
        return ClipOutput(predictions, features, queries.groups, *place, slices, task.object_ids)


@dataclass
class TextState(VideoState):
    """The logits of frames that the next clip shares."""

    window: LogitRows = field(default_factory=lambda: LogitRows.none(0))


@dataclass
class AskEveryClip:
    """Ask every clip for the same sentences; on shared frames their logits are averaged."""

    task: RefVOS
    clip_length: int = 12
    overlap: int = 6
    short_side: int | None = None
    long_side: int | None = None

    def start(self, size: tuple[int, int], model_size: tuple[int, int]) -> TextState:
        return TextState(size, model_size)

    def hints(self, state: TextState, num_frames: int | None = None) -> list[RefVOS]:
        return [self.task]

    def merge(
        self, output: ClipOutput, state: TextState, *, last: bool = False
    ) -> Iterator[tuple[FrameResult, ...]]:
        start = state.next_start
        done = state.advance(len(output.frame_indices), self.overlap, last=last)
        logits = [output.select_mask_logits(part)[0].amax(0) for part in output.object_slices]
        rows = LogitRows.of_clip(self.task.object_ids, torch.stack(logits).float())
        finished, state.window = join(state.window, rows).split(len(done))
        return ((result_of(finished, t, start, state),) for t in done)

    def summary(self, state: TextState) -> tuple[list[TrackSummary], ...]:
        return ([TrackSummary(i) for i in self.task.object_ids],)


def result_of(rows: LogitRows, t: int, start: int, state: TextState) -> FrameResult:
    ids, logits = rows.frame(t)
    masks = full_size_masks(logits, state.model_size, state.size)
    return FrameResult(start + t, ids, masks, (None,) * len(ids), (None,) * len(ids))
