"""Clips with targets: what UniVS does with them besides what it does with any clip."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from segblocks.nn import DecoderContext, Memory, VisualTokens
from segblocks.nn.clip_output import ClipOutput
from segblocks.nn.visual_sampler import TURN_OF_FRAMES
from segblocks.tasks import HintTask, Task
from segblocks.zoo.clip_model import MASK_STRIDE
from segblocks.zoo.univs.hinted import ClipHints, object_queries, sample_hints
from segblocks.zoo.univs.prompts import Prompts

if TYPE_CHECKING:
    from segblocks.zoo.univs.model import UniVS

Remembered = Mapping[int, VisualTokens]
"""Id of an object -> tokens (L, C) of earlier frames."""


@dataclass(frozen=True)
class UniVSOutput(ClipOutput):
    """What UniVS returns in training.

    Args:
        embeddings: the queries of each prediction behind the decoder's norm, (B, Q, T, C), by which
            objects are recognised.
    """

    embeddings: tuple[Tensor, ...] = ()


@dataclass(frozen=True)
class Window:
    """A part of a video that is a clip.

    Args:
        start: its first frame.
        tasks: with hints on its own frames; the ids of objects are those of ``ids`` in
            :func:`train_windows`.
    """

    start: int
    tasks: tuple[Task, ...]


def train_clip(
    model: UniVS,
    frames: Tensor,
    tasks: Sequence[Task],
    levels: Mapping[int, Tensor],
    *,
    start: int | None = None,
    generator: torch.Generator | None = None,
    remembered: Remembered | None = None,
) -> tuple[UniVSOutput, DecoderContext]:
    """Segment one clip of a batch.

    Args:
        model: whose weights these are.
        frames: (1, T, 3, H, W).
        tasks: that the model can do.
        levels: of ``model.extract`` for these frames.
        start: index of the first frame in the video; None draws it, or is 0 without a generator.
        generator: as of ``forward_clips``.
        remembered: tokens of objects beside those of their hints.

    Returns:
        The output, and the context that it was made in.
    """
    if start is None:
        start = 0 if generator is None else _draw(TURN_OF_FRAMES, generator)
    indices = tuple(range(start, start + frames.shape[1]))
    context = model.clip_context(levels, indices)
    context.generator = generator
    prompts = model.text_prompts(tasks, context)
    hinted = model.gather(tasks, frames, None)
    if hinted.hints:
        found = _sample(model, hinted, context, frames, indices, generator)
        first = hinted.first_frames
        keys = [key for keys in hinted.objects for key in keys]
        ids = [i for task in tasks if isinstance(task, HintTask) for i in task.object_ids]
        shown = [found[first[key]][key] for key in keys]
        older = [(remembered or {}).get(i) for i in ids]
        prompts["visual"] = _visual(model, shown, older, frames.shape[1])
    queries = model.queries(prompts, context)
    slices, object_ids = object_queries(tasks, hinted, None, queries.groups)
    predictions = model.decoder(queries, context).predictions
    output = UniVSOutput(
        predictions,
        levels[MASK_STRIDE],
        queries.groups,
        model_size=(int(frames.shape[-2]), int(frames.shape[-1])),
        frame_indices=indices,
        object_slices=slices,
        object_ids=object_ids,
        embeddings=tuple(model.predict.norm(p.queries) for p in predictions),
    )
    return output, context


def train_windows(
    model: UniVS,
    frames: Tensor,
    windows: Sequence[Window],
    masks: Tensor,
    ids: Sequence[int],
    length: int,
    *,
    generator: torch.Generator | None = None,
) -> tuple[UniVSOutput, ...]:
    """Segment overlapping clips of one video, each with the memory of the one before it.

    The third stage of UniVS' training. Objects of a clip also attend to their tokens in the last
    ``length // 3 + 1`` frames of the clip before, where masks are the true ones, as in the official
    code. Backbone and neck see each frame once.

    Args:
        model: whose weights these are.
        frames: (1, T, 3, H, W) of the video.
        windows: in order.
        masks: (O, T, H, W) bool, the objects.
        ids: of the objects.
        length: frames of each window.
        generator: as of ``forward_clips``.

    Returns:
        One output a window.
    """
    levels = model.extract(frames)
    first = 0 if generator is None else _draw(TURN_OF_FRAMES, generator)
    outputs: list[UniVSOutput] = []
    remembered: Remembered = {}
    for window in windows:
        part = slice(window.start, window.start + length)
        output, context = train_clip(
            model,
            frames[:, part],
            window.tasks,
            {stride: level[:, part] for stride, level in levels.items()},
            start=first + window.start,
            generator=generator,
            remembered=remembered,
        )
        outputs.append(output)
        remembered = _remember(model, context, output, frames[:, part], masks[:, part], ids)
    return tuple(outputs)


def _remember(
    model: UniVS,
    context: DecoderContext,
    output: UniVSOutput,
    frames: Tensor,
    masks: Tensor,
    ids: Sequence[int],
) -> Remembered:
    """Tokens of objects in the last frames of a clip that show them."""
    length = masks.shape[1]
    height, width = model.padded_size(frames)
    padded = F.pad(masks, (0, width - masks.shape[-1], 0, height - masks.shape[-2]))
    shown = masks.flatten(2).any(dim=2).T.tolist()
    hints: dict[int, list[tuple[int, str, Tensor]]] = {
        t: [(i, "mask", padded[n, t]) for n, i in enumerate(ids) if shown[t][n]]
        for t in range(length - min(length, length // 3 + 1), length)
    }
    told = ClipHints((), {t: given for t, given in hints.items() if given})
    found = _sample(model, told, context, frames, output.frame_indices, context.generator)
    tokens: dict[int, list[VisualTokens]] = {}
    for of_frame in found.values():
        for i, own in of_frame.items():
            tokens.setdefault(i, []).append(own)
    return {
        i: VisualTokens(*(torch.cat(x) for x in zip(*own, strict=True)))
        for i, own in tokens.items()
    }


def _sample(
    model: UniVS,
    hinted: ClipHints,
    context: DecoderContext,
    frames: Tensor,
    indices: Sequence[int],
    generator: torch.Generator | None,
) -> dict[int, dict[int, VisualTokens]]:
    shuffle = None if generator is None else partial(torch.randperm, generator=generator)
    sampler = model.sampler(model.config.tokens_per_prompt, shuffle)
    return sample_hints(hinted, sampler, context, model.padded_size(frames), model.times(indices))


def _visual(
    model: UniVS,
    shown: Sequence[VisualTokens],
    older: Sequence[VisualTokens | None],
    num_frames: int,
) -> Prompts:
    """The queries of objects: the mean of the tokens that hints show."""
    content, position = (
        torch.stack(x).mean(dim=1)[None, :, None].expand(-1, -1, num_frames, -1)
        for x in zip(*shown, strict=True)
    )
    every = [
        own if before is None else VisualTokens(*map(torch.cat, zip(own, before, strict=True)))
        for own, before in zip(shown, older, strict=True)
    ]
    tokens, places = (
        pad_sequence(list(x), batch_first=True)[None] for x in zip(*every, strict=True)
    )
    lengths = torch.tensor([len(own.features) for own in every], device=tokens.device)
    known = torch.arange(tokens.shape[2], device=tokens.device) < lengths[:, None]
    same = len({len(own.features) for own in every}) == 1
    return Prompts(
        content + model.prompts.types["visual"],
        position,
        Memory(tokens, places, None if same else known[None]),
    )


def _draw(count: int, generator: torch.Generator) -> int:
    return int(torch.randint(count, (1,), generator=generator))
