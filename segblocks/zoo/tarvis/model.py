"""TarViS: one network for video instance, panoptic, object and point-guided segmentation."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from segblocks.nn import (
    ClipOutput,
    Decoder,
    EncodedObjects,
    FeedForward,
    GroupMaskEmbedding,
    MaskedCrossAttention,
    ObjectEncoder,
    Predict,
    Queries,
    QueryClassHead,
    SelfAttention,
    concatenate_queries,
    mlp,
)
from segblocks.tasks import CategoryTask, HintTask, Task, as_tasks
from segblocks.zoo.clip_model import MASK_STRIDE, STRIDES, ClipModel, prediction_of_batch, size_of
from segblocks.zoo.tarvis.config import TarViSConfig
from segblocks.zoo.tarvis.hinted import HintedObjects, gather_hints
from segblocks.zoo.tarvis.policy import TarViSPolicy, TarViSState
from segblocks.zoo.tarvis.queries import GROUPS, TarViSQueries

# "free" is trained by nothing and read by nothing; it travels with the official checkpoints.
MASK_HEADS = (*GROUPS, "free")


class TarViS(ClipModel):
    """TarViS (Athar et al., CVPR 2023), after the official code where it differs from the paper.

    A task is a set of queries: instance, background and semantic queries for VIS and VPS, queries
    encoded from masks and points for VOS and PET; several tasks join their sets in one pass.

    Args:
        config: the numbers; the default is ``tarvis_resnet50``.

    Example:
        >>> from segblocks.tasks import VIS
        >>> config = TarViSConfig(neck_layers=1, decoder_layers=3, encoder_layers=1,
        ...                       neck_hidden_dim=64, decoder_hidden_dim=64)
        >>> model = TarViS(config).eval()
        >>> frames = torch.zeros(1, 2, 3, 60, 100, dtype=torch.uint8)
        >>> output = model(frames, VIS("ovis"))
        >>> output.mask_logits.shape, output.class_logits.shape
        (torch.Size([1, 154, 2, 16, 32]), torch.Size([1, 128, 26]))
    """

    tasks = ("vis", "vps", "vos", "pet")
    config: TarViSConfig

    def __init__(self, config: TarViSConfig | None = None) -> None:
        config = config or TarViSConfig()
        cells = {s: side for s, side in zip(STRIDES, config.cells, strict=False) if side}
        super().__init__(config, cells=cells, keep_pixels=True)
        self.queries = TarViSQueries(
            config.embed_dim,
            num_instances=config.num_instance_queries,
            vocabularies=config.vocabularies,
        )
        self.object_encoder = ObjectEncoder(
            config.embed_dim,
            config.num_heads,
            num_layers=config.encoder_layers,
            hidden_dim=config.encoder_hidden_dim,
            strides=(*STRIDES, MASK_STRIDE),
            grid=config.background_grid,
        )
        self.decoder = Decoder(_decoder_steps(config), config.embed_dim, strides=STRIDES)

    def forward(
        self,
        frames: Tensor,
        task: Task | Sequence[Task],
        *,
        frame_indices: Sequence[int] | None = None,
        state: TarViSState | None = None,
        features: Mapping[int, Tensor] | None = None,
    ) -> ClipOutput:
        """Segment one clip.

        Args:
            frames: (B, T, 3, H, W) RGB on the scale 0..255, uint8 or float. B is 1 where a task
                has hints.
            task: VIS, VPS, VOS or PET, or several of them, at most one of VIS and VPS; hints lie
                on frames of the clip. Masks have the size of the frames, or of the frames padded
                to multiples of ``config.size_multiple``: predicted ones reach into the padding.
            frame_indices: of the frames in their video; None goes on where the last merge left
                ``state``, or counts from 0.
            state: of the video, handed on in the output; None begins a video with this clip.
            features: what :meth:`extract` returned for these frames, when it is at hand.

        Returns:
            The output; groups are ``instance``, ``background`` and ``semantic`` for VIS and VPS,
            ``object_background`` and ``object`` for VOS and PET, in this order.

        Raises:
            ValueError: a task this model cannot do, hints that do not fit, an unknown vocabulary,
                or features or indices of other frames.
        """
        tasks = self.check_tasks(as_tasks(task))
        features = self.features_of(frames, features)
        levels, size = self.neck(features), size_of(frames)
        asked = self._ask(tasks, levels, size)
        predictions = self.decoder(asked.queries, self.decoder.context(levels)).predictions
        indices = self.frame_indices(frame_indices, frames.shape[1], state)
        if state is None:
            state = self._begin(tasks, size, indices[0])
        return ClipOutput(
            predictions,
            levels[MASK_STRIDE],
            asked.queries.groups,
            model_size=size,
            frame_indices=indices,
            object_slices=asked.object_slices,
            object_ids=asked.object_ids,
            state=state,
            frame_features=features,
        )

    def forward_clips(
        self,
        frames: Tensor,
        tasks: Sequence[Task | Sequence[Task]],
        *,
        generators: Sequence[torch.Generator] | None = None,
    ) -> tuple[ClipOutput, ...]:
        """Segment clips that have tasks of their own, for training.

        Backbone and neck take all clips at once, the decoder those whose groups of queries have
        the same sizes. Each clip comes out as it would alone.

        Args:
            frames: (B, T, 3, H, W), as in :meth:`forward`.
            tasks: of each clip, hints of any number of objects.
            generators: of each clip, on the CPU; draws the points that the object encoder keeps.

        Returns:
            One output a clip, each with one clip and without a state.

        Raises:
            ValueError: tasks or generators that are not one a clip; else as :meth:`forward`.
        """
        self.check_batch(frames, tasks=tasks, generators=generators)
        checked = [self.check_tasks(as_tasks(task)) for task in tasks]
        size = size_of(frames)
        levels = self.neck(self.extract(frames))
        clips = [
            dict(zip(levels, of_clip, strict=True))
            for of_clip in zip(*(level.split(1) for level in levels.values()), strict=True)
        ]
        asked = [
            self._ask(task, clip, size, generators[b] if generators else None)
            for b, (task, clip) in enumerate(zip(checked, clips, strict=True))
        ]
        outputs: dict[int, ClipOutput] = {}
        for members in _same_layout(asked):
            together = levels if len(members) == len(clips) else _select(levels, members)
            queries = _stack([asked[b].queries for b in members])
            predictions = self.decoder(queries, self.decoder.context(together)).predictions
            for place, b in enumerate(members):
                outputs[b] = ClipOutput(
                    tuple(prediction_of_batch(p, place) for p in predictions),
                    clips[b][MASK_STRIDE],
                    queries.groups,
                    model_size=size,
                    frame_indices=tuple(range(frames.shape[1])),
                    object_slices=asked[b].object_slices,
                    object_ids=asked[b].object_ids,
                )
        return tuple(outputs[b] for b in range(len(clips)))

    def video_policy(self, task: Task | Sequence[Task], **settings: Any) -> TarViSPolicy:
        """Say how a video is cut into clips, and how their outputs join.

        Args:
            task: as in :meth:`forward`, with hints on frames of the video.
            settings: of :class:`TarViSPolicy`; short side, length of clips and the share of
                propagated masks are the model's own by default.
        """
        for name in ("short_side", "clip_length", "propagation"):
            if settings.get(name) is None:
                settings[name] = getattr(self.config, name)
        return TarViSPolicy(self.check_tasks(as_tasks(task)), **settings)

    def _begin(self, tasks: tuple[Task, ...], size: tuple[int, int], start: int) -> TarViSState:
        """The state of a video whose frame ``start`` is the first of a clip with these tasks."""
        in_video = [t.window(-start, sys.maxsize) if isinstance(t, HintTask) else t for t in tasks]
        state = self.video_policy([task for task in in_video if task is not None]).start(size, size)
        state.next_start = state.finished = start
        return state

    def _hinted(
        self, tasks: list[HintTask], levels: dict[int, Tensor], size: tuple[int, int]
    ) -> HintedObjects | None:
        if not tasks:
            return None
        finest = levels[MASK_STRIDE]
        if finest.shape[0] != 1:
            raise ValueError(f"TarViS: tasks with hints take one clip, got {finest.shape[0]}")
        padded = (finest.shape[-2] * MASK_STRIDE, finest.shape[-1] * MASK_STRIDE)
        return gather_hints(tasks, finest.shape[1], size, padded, finest.device)

    def _ask(
        self,
        tasks: tuple[Task, ...],
        levels: dict[int, Tensor],
        size: tuple[int, int],
        generator: torch.Generator | None = None,
    ) -> _Asked:
        """Make the queries of some tasks for clips whose neck features are ``levels``."""
        parts: dict[str, Tensor] = {}
        for task in tasks:
            if isinstance(task, CategoryTask):
                rows = self.queries.semantic_rows(task.resolve())
                parts["instance"] = self.queries.instance
                parts["background"] = self.queries.background
                parts["semantic"] = self.queries.semantic[rows]
        hinted = self._hinted([t for t in tasks if isinstance(t, HintTask)], levels, size)
        slices: tuple[slice, ...] = ()
        if hinted is not None:
            start = sum(len(part) for part in parts.values())
            encoded = self._encode(hinted, levels, generator)
            parts["object_background"] = encoded.background
            parts["object"] = encoded.objects
            slices = hinted.slices(self._queries_per_object, start + len(encoded.background))
        batch = levels[MASK_STRIDE].shape[0]
        queries = concatenate_queries(
            [
                (name, content.expand(batch, -1, -1), self.queries.type_embedding(name)[None])
                for name, content in parts.items()
            ]
        )
        return _Asked(queries, slices, hinted.ids if hinted else ())

    @property
    def _queries_per_object(self) -> int:
        return self.config.queries_per_object[0 if self.training else 1]

    def _encode(
        self, hinted: HintedObjects, levels: dict[int, Tensor], generator: torch.Generator | None
    ) -> EncodedObjects:
        return self.object_encoder(
            {stride: level[0, list(hinted.frames)] for stride, level in levels.items()},
            hinted.masks,
            hinted.points,
            hinted.point_frames,
            queries_per_object=self._queries_per_object,
            max_points=self.config.max_points[0 if self.training else 1],
            generator=generator,
        )


class _Asked(NamedTuple):
    """The queries of some tasks, and which of them stand for which object."""

    queries: Queries
    object_slices: tuple[slice, ...]
    object_ids: tuple[int, ...]


def _same_layout(asked: Sequence[_Asked]) -> list[list[int]]:
    """Group clips whose queries can stand in one batch."""
    layouts: dict[tuple[Any, ...], list[int]] = {}
    for b, clip in enumerate(asked):
        layout = tuple((name, part.stop) for name, part in clip.queries.groups.items())
        layouts.setdefault(layout, []).append(b)
    return list(layouts.values())


def _select(levels: dict[int, Tensor], clips: list[int]) -> dict[int, Tensor]:
    return {stride: level[clips] for stride, level in levels.items()}


def _stack(queries: Sequence[Queries]) -> Queries:
    content = torch.cat([q.content for q in queries])
    return replace(queries[0], content=content)


def _decoder_steps(config: TarViSConfig) -> list[nn.Module]:
    dim = config.embed_dim
    predict = Predict(
        nn.LayerNorm(dim),
        GroupMaskEmbedding({name: mlp(dim, dim, dim, dim) for name in MASK_HEADS}),
        QueryClassHead(dim, projected_groups=GROUPS),
    )
    for weight in (p for p in predict.parameters() if p.dim() > 1):
        nn.init.xavier_uniform_(weight)
    steps: list[nn.Module] = [predict]
    for layer in range(config.decoder_layers):
        steps += [
            MaskedCrossAttention(dim, config.num_heads, stride=STRIDES[layer % len(STRIDES)]),
            SelfAttention(dim, config.num_heads),
            FeedForward(dim, config.decoder_hidden_dim),
            predict,
        ]
    return steps
