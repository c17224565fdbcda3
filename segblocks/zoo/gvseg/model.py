"""GvSeg: one network whose queries begin, and are followed, as the task asks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from segblocks.nn import (
    ClassQueries,
    ConfidentThings,
    Decoder,
    GridQueries,
    HintQueries,
    Predict,
    Prediction,
    Queries,
    ShapePositionDescriptor,
    concatenate_queries,
    mlp,
    sine_position_at,
)
from segblocks.tasks import VIS, VSS, CategoryTask, HintTask, Task, as_tasks
from segblocks.text.vocabulary import Vocabulary
from segblocks.zoo.clip_model import MASK_STRIDE, STRIDES, ClipModel, size_of
from segblocks.zoo.gvseg.config import GvSegConfig
from segblocks.zoo.gvseg.decoder import decoder_steps, thing_shapes
from segblocks.zoo.gvseg.hinted import Recall, distinct_keys, read_hints
from segblocks.zoo.gvseg.output import GvSegOutput
from segblocks.zoo.gvseg.policy import GvSegPolicy
from segblocks.zoo.gvseg.state import GvSegState
from segblocks.zoo.mask2former_vis.classes import class_columns, narrow_classes

GRID_STRIDE = 16

Selection = Callable[[GvSegOutput], Tensor]


class GvSeg(ClipModel):
    """GvSeg (Chen et al., ECCV 2024), after the paper; there is no published code.

    Mask2Former-VIS in clips of three frames, with three differences. Queries begin as the task
    asks: things from the cells of a grid over the first frame, classes of stuff from what their
    queries became in training, hinted objects from the features where the hints are. In every layer
    things are told what the masks that they predicted look like, and where these lie. And queries
    of two clips are matched by appearance, shape and position together.

    One network does all tasks that its weights were trained for.

    Args:
        config: the numbers; the default is ``gvseg_resnet50``.

    Example:
        >>> config = GvSegConfig(neck_layers=1, decoder_layers=3, neck_hidden_dim=64,
        ...                      decoder_hidden_dim=64, query_hidden_dim=64)
        >>> model = GvSeg(config).eval()
        >>> frames = torch.zeros(1, 3, 3, 60, 100, dtype=torch.uint8)
        >>> output = model(frames, VIS("vipseg"))
        >>> output.mask_logits.shape, output.shapes.shape
        (torch.Size([1, 100, 3, 16, 32]), torch.Size([1, 100, 3, 256]))
    """

    tasks = ("vis", "vps", "vss", "vos", "pet", "evs")
    no_decay_names = ("thing_position", "object_position", "class_position")
    config: GvSegConfig

    def __init__(self, config: GvSegConfig | None = None) -> None:
        config = config or GvSegConfig()
        super().__init__(config)
        dim, hidden = config.embed_dim, config.query_hidden_dim
        self.vocabulary: Vocabulary = config.resolve()
        self.grid_queries = GridQueries(
            dim, config.num_queries, cells=config.grid_cells, hidden_dim=hidden
        )
        self.class_queries = ClassQueries(
            len(self.vocabulary), dim, momentum=config.class_momentum, hidden_dim=hidden
        )
        self.hint_queries = HintQueries(dim, hidden, stride=MASK_STRIDE)
        self.thing_position = nn.Parameter(torch.randn(dim))
        self.object_position = nn.Parameter(torch.randn(dim))
        self.class_position = nn.Parameter(torch.randn(len(self.vocabulary), dim))
        self.descriptor = ShapePositionDescriptor(
            dim,
            reading=config.reading,
            angles=config.angles,
            radii=config.radii,
            anchors=config.anchors,
        )
        self.identity = mlp(dim, dim, dim, dim)
        self.decoder = Decoder(
            decoder_steps(config, len(self.vocabulary), self.descriptor), dim, strides=STRIDES
        )

    def forward(
        self,
        frames: Tensor,
        task: Task | Sequence[Task],
        *,
        frame_indices: Sequence[int] | None = None,
        state: GvSegState | None = None,
        features: Mapping[int, Tensor] | None = None,
    ) -> GvSegOutput:
        """Segment one clip.

        Args:
            frames: (B, T, 3, H, W) RGB on the scale 0..255, uint8 or float; B is 1 with hints.
            task: one of VIS, VPS and VSS, or tasks with hints on frames of the clip.
            frame_indices: of the frames in their video; None goes on where the last merge left
                ``state``, or counts from 0. They change no number.
            state: of the video, with the hinted objects so far; None begins one with this clip.
            features: what :meth:`extract` returned for these frames, when it is at hand.

        Returns:
            The output. Queries of things are of the group ``instance``, of classes ``semantic``, of
            hinted objects ``object`` and of what is not among them ``object_background``. Class
            logits are of all queries: of the asked classes and no-object; with hints, of "object"
            and no-object.

        Raises:
            ValueError: another task, a class that the model does not know, hints that do not fit,
                or features or indices of other frames.
        """
        tasks = self._tasks_of(task)
        pyramid, size = self.features_of(frames, features), size_of(frames)
        indices = self.frame_indices(frame_indices, frames.shape[1], state)
        known = {} if state is None else state.features
        keyed = state is not None and state.is_keyed
        output = self._decode(self.neck(pyramid), tasks, size, indices, known, keyed)
        if state is None:
            state = self.video_policy(tasks).start(size, size)
            state.next_start = state.finished = indices[0]
        return replace(output, state=state, frame_features=pyramid)

    def forward_clips(
        self,
        frames: Tensor,
        tasks: Sequence[Task | Sequence[Task]],
        *,
        generators: Sequence[torch.Generator] | None = None,
        selections: Sequence[Selection] | None = None,
        references: int = 0,
    ) -> tuple[GvSegOutput, ...]:
        """Segment clips that have tasks of their own, for training.

        Args:
            frames: (B, T, 3, H, W), as in :meth:`forward`.
            tasks: of each clip, with hints on its frames.
            generators: of each clip, for what is drawn: cells, places in hints, and whether classes
                begin from what was learned or from what was seen.
            selections: of each clip, output so far -> (1, Q) bool, the queries that are told about
                their masks: the matched ones. The output holds the latest prediction alone. None
                selects by confidence, as inference does.
            references: how many of the last frames are no part of the clip, but other moments of
                the video, each segmented by itself with what the clip's hints showed.

        Returns:
            One output a clip, each with one clip and without a state; those of the other moments
            are its ``references``. Frame indices count within ``frames``.

        Raises:
            ValueError: tasks that are not one a clip, or no frame left for the clip; else as
                :meth:`forward`.
        """
        self.check_batch(frames, tasks=tasks)
        if not 0 <= references < frames.shape[1]:
            raise ValueError(
                f"GvSeg: references must be from 0 to {frames.shape[1] - 1}, as the clip has a "
                f"frame at least, got {references}"
            )
        checked = [self._tasks_of(task) for task in tasks]
        size = size_of(frames)
        levels = self.neck(self.extract(frames))
        return tuple(
            self._decode_moments(
                {stride: level[b : b + 1] for stride, level in levels.items()},
                of_clip,
                size,
                references,
                generators[b] if generators else None,
                selections[b] if selections else None,
            )
            for b, of_clip in enumerate(checked)
        )

    def video_policy(self, task: Task | Sequence[Task], **settings: Any) -> GvSegPolicy:
        """Say how a video is cut into clips, and how their outputs join.

        Args:
            task: as in :meth:`forward`, with hints on frames of the video.
            settings: of :class:`GvSegPolicy`; short side and propagation are the config's by
                default.
        """
        settings = {name: value for name, value in settings.items() if value is not None}
        own = {name: getattr(self.config, name) for name in ("short_side", "propagation")}
        settings = {**own, **settings}
        return GvSegPolicy(self._tasks_of(task), **settings)

    def _tasks_of(self, task: Task | Sequence[Task]) -> tuple[Task, ...]:
        tasks = as_tasks(task)
        if tasks == (Recall(),):
            return tasks
        self.check_tasks(tasks)
        category = [t for t in tasks if isinstance(t, CategoryTask)]
        if category and len(tasks) > 1:
            raise ValueError(
                "GvSeg: tasks must be one of VIS, VPS and VSS, or only tasks with hints, got "
                f"{[t.name for t in tasks]}; its queries attend to each other, so that each has "
                "to be asked in a pass of its own"
            )
        for asked in category:
            try:
                class_columns(self.vocabulary, asked.resolve())
            except ValueError as error:
                raise ValueError(f"GvSeg: {error}") from error
        return tasks

    def _decode_moments(
        self,
        levels: dict[int, Tensor],
        tasks: tuple[Task, ...],
        size: tuple[int, int],
        references: int,
        generator: torch.Generator | None,
        selection: Selection | None,
    ) -> GvSegOutput:
        """Decode a clip, and the last frames one by one."""
        end = levels[MASK_STRIDE].shape[1]
        start = end - references

        def decode(asked: tuple[Task, ...], frames: range, known: dict[int, Tensor]) -> GvSegOutput:
            # No frame has seen another before the decoder.
            part = {s: level[:, frames.start : frames.stop] for s, level in levels.items()}
            return self._decode(
                part, asked, size, frames, known, False, generator=generator, selection=selection
            )

        output = decode(tasks, range(start), {})
        known: dict[int, Tensor] = {}
        if output.object_features is not None:
            known = dict(zip(output.object_ids, output.object_features, strict=True))
        asked = (Recall(),) if known else tasks
        moments = tuple(decode(asked, range(t, t + 1), known) for t in range(start, end))
        return replace(output, references=moments)

    def _decode(
        self,
        levels: dict[int, Tensor],
        tasks: tuple[Task, ...],
        size: tuple[int, int],
        indices: Sequence[int],
        known: Mapping[int, Tensor],
        keyed: bool,
        *,
        generator: torch.Generator | None = None,
        selection: Selection | None = None,
    ) -> GvSegOutput:
        objects: dict[int, Tensor] = {}
        if isinstance(tasks[0], CategoryTask):
            asked = tasks[0].resolve()
            columns = class_columns(self.vocabulary, asked)
            things = [c for n, c in enumerate(columns) if asked.is_thing(n)]
            queries = self._category_queries(levels, tasks[0], columns, generator)
        else:
            columns = things = [len(self.vocabulary)]
            objects = self._objects(levels, tasks, size, known, keyed, generator)
            queries = self._object_queries(levels, list(objects.values()), generator)
        context = self.decoder.context(levels)
        context.canvas = (-(-size[0] // MASK_STRIDE), -(-size[1] // MASK_STRIDE))
        output = GvSegOutput(
            (),
            levels[MASK_STRIDE],
            queries.groups,
            model_size=size,
            frame_indices=tuple(indices),
            object_slices=tuple(slice(n, n + 1) for n in range(len(objects))),
            object_ids=tuple(objects),
            object_features=torch.stack(list(objects.values())) if objects else None,
        )
        is_thing = torch.zeros(len(self.vocabulary) + 1, dtype=torch.bool)
        is_thing[things] = True
        is_thing = is_thing.to(levels[MASK_STRIDE].device)  # once, and not at each injection
        context.select = ConfidentThings(is_thing, min_score=self.config.min_thing_score)
        if selection is not None:
            context.select = lambda prediction: selection(
                replace(output, predictions=(_narrowed(prediction, columns),))
            )
        refined, predictions = self.decoder(queries, context)
        return replace(
            output,
            predictions=tuple(_narrowed(p, columns) for p in predictions),
            embeddings=self._embeddings(refined.content),
            shapes=None if self.training else thing_shapes(self.descriptor, queries, context),
        )

    def _category_queries(
        self,
        levels: dict[int, Tensor],
        task: CategoryTask,
        columns: list[int],
        generator: torch.Generator | None,
    ) -> Queries:
        batch = len(levels[MASK_STRIDE])
        parts = []
        if not isinstance(task, VSS):
            content, position = self._grid(levels, self.config.num_queries, generator)
            parts.append(("instance", content, position + self.thing_position))
        if not isinstance(task, VIS):
            asked = task.resolve()
            rows = [
                c for n, c in enumerate(columns) if isinstance(task, VSS) or not asked.is_thing(n)
            ]
            learned = self.training and bool(torch.rand((), generator=generator) < 0.5)
            index = torch.tensor(rows, dtype=torch.long, device=self.class_position.device)
            content = self.class_queries(index, learned=learned).expand(batch, -1, -1)
            parts.append(("semantic", content, self.class_position[index][None]))
        return concatenate_queries(parts)

    def _grid(
        self, levels: dict[int, Tensor], number: int, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        """Queries (B, n, C) from the first frame, and the codes of their places."""
        features = levels[GRID_STRIDE][:, 0]
        content, cells = self.grid_queries(features, num_queries=number, generator=generator)
        centres = self.grid_queries.centres(cells).to(torch.float32)
        size = (int(features.shape[-2]), int(features.shape[-1]))
        return content, sine_position_at(centres, size, features.shape[1]).to(content.dtype)

    def _objects(
        self,
        levels: dict[int, Tensor],
        tasks: tuple[Task, ...],
        size: tuple[int, int],
        known: Mapping[int, Tensor],
        keyed: bool,
        generator: torch.Generator | None,
    ) -> dict[int, Tensor]:
        """Key -> feature of each object, those of earlier clips first."""
        features = levels[MASK_STRIDE]
        if len(features) != 1:
            raise ValueError(f"GvSeg: tasks with hints take one clip, got {len(features)}")
        hinted = [task for task in tasks if isinstance(task, HintTask)]
        keys = None if keyed else distinct_keys(hinted)
        found = read_hints(
            hinted, self.hint_queries, features[0], size, keys=keys, generator=generator
        )
        return {**known, **{key: f for key, f in found.items() if key not in known}}

    def _object_queries(
        self, levels: dict[int, Tensor], features: list[Tensor], generator: torch.Generator | None
    ) -> Queries:
        content = self.hint_queries(torch.stack(features))[None]
        rest = max(0, self.config.num_queries - len(features))
        distractors, position = self._grid(levels, rest, generator)
        return concatenate_queries(
            [
                ("object", content, self.object_position.expand_as(content)),
                ("object_background", distractors, position + self.thing_position),
            ]
        )

    def _embeddings(self, content: Tensor) -> Tensor:
        predict = self.decoder.steps[0]
        assert isinstance(predict, Predict)
        return self.identity(predict.norm(content))


def _narrowed(prediction: Prediction, columns: list[int]) -> Prediction:
    assert prediction.class_logits is not None
    return replace(prediction, class_logits=narrow_classes(prediction.class_logits, columns))
