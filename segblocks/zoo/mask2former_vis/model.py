"""Mask2Former-VIS: masked attention over all frames of a clip at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from segblocks.nn import (
    ClipOutput,
    Decoder,
    FeedForward,
    LinearClassHead,
    MaskedCrossAttention,
    MaskEmbedding,
    Predict,
    Queries,
    SelfAttention,
    mlp,
)
from segblocks.tasks import CategoryTask, Task, as_tasks
from segblocks.text.vocabulary import Vocabulary
from segblocks.zoo.clip_model import MASK_STRIDE, STRIDES, ClipModel, clip_of_batch, size_of
from segblocks.zoo.mask2former_vis.classes import class_columns, narrow_classes
from segblocks.zoo.mask2former_vis.config import Mask2FormerVISConfig
from segblocks.zoo.mask2former_vis.policy import Mask2FormerVISPolicy, Mask2FormerVISState

# Of queries without an object, in the official loss.
_NO_OBJECT_WEIGHT = 0.1


class Mask2FormerVIS(ClipModel):
    """Mask2Former for video instance segmentation (Cheng et al., 2021), as the official code.

    The image model with one set of queries a video: the decoder attends to the pixels of all frames
    together, placed by a three-dimensional position, and a query has one mask embedding for all of
    them. Nothing else passes between frames.

    Args:
        config: the numbers; the default is ``mask2former_vis_resnet50``.

    Example:
        >>> from segblocks.tasks import VIS
        >>> config = Mask2FormerVISConfig(neck_layers=1, decoder_layers=3, neck_hidden_dim=64,
        ...                               decoder_hidden_dim=64)
        >>> model = Mask2FormerVIS(config).eval()
        >>> frames = torch.zeros(1, 2, 3, 60, 100, dtype=torch.uint8)
        >>> output = model(frames, VIS("youtube_vis_2021"))
        >>> output.mask_logits.shape, output.class_logits.shape
        (torch.Size([1, 100, 2, 16, 32]), torch.Size([1, 100, 41]))
    """

    tasks = ("vis",)
    no_decay_names = ("query_content", "query_position")
    config: Mask2FormerVISConfig
    class_weights: Tensor

    def __init__(self, config: Mask2FormerVISConfig | None = None) -> None:
        config = config or Mask2FormerVISConfig()
        super().__init__(config)
        self.vocabulary: Vocabulary = config.resolve()
        self.query_content = nn.Parameter(torch.randn(config.num_queries, config.embed_dim))
        self.query_position = nn.Parameter(torch.randn(config.num_queries, config.embed_dim))
        self.decoder = Decoder(
            decoder_steps(config, len(self.vocabulary)), config.embed_dim, strides=STRIDES
        )
        # In the official state dict, hence in ours; the loss is where they count.
        self.register_buffer("class_weights", usual_class_weights(len(self.vocabulary)))

    def forward(
        self,
        frames: Tensor,
        task: Task | Sequence[Task],
        *,
        frame_indices: Sequence[int] | None = None,
        state: Mask2FormerVISState | None = None,
        features: Mapping[int, Tensor] | None = None,
    ) -> ClipOutput:
        """Segment one clip, or a whole video.

        Args:
            frames: (B, T, 3, H, W) RGB on the scale 0..255, uint8 or float.
            task: VIS, with the model's vocabulary or some of its classes.
            frame_indices: of the frames in their video; None goes on where the last merge left
                ``state``, or counts from 0. They change no number.
            state: of the video, handed on in the output; None begins a video with this clip.
            features: what :meth:`extract` returned for these frames, when it is at hand.

        Returns:
            The output; all queries are of the group ``instance``.

        Raises:
            ValueError: another task, a class that the model does not know, or features or indices
                of other frames.
        """
        (asked,) = self._tasks_of(task)
        pyramid, size = self.features_of(frames, features), size_of(frames)
        indices = self.frame_indices(frame_indices, frames.shape[1], state)
        output = self._decode(self.neck(pyramid), size, indices)
        if state is None:
            state = self.video_policy(asked).start(size, size)
            state.next_start = state.finished = indices[0]
        return replace(self._narrow(output, asked), state=state)

    def forward_clips(
        self,
        frames: Tensor,
        tasks: Sequence[Task | Sequence[Task]],
        *,
        generators: Sequence[torch.Generator] | None = None,
    ) -> tuple[ClipOutput, ...]:
        """Segment clips that have tasks of their own, for training.

        Args:
            frames: (B, T, 3, H, W), as in :meth:`forward`.
            tasks: of each clip.
            generators: not needed; nothing here is drawn.

        Returns:
            One output a clip, each with one clip and without a state.

        Raises:
            ValueError: tasks that are not one a clip; else as :meth:`forward`.
        """
        self.check_batch(frames, tasks=tasks)
        asked = [self._tasks_of(task)[0] for task in tasks]
        levels = self.neck(self.extract(frames))
        together = self._decode(levels, size_of(frames), range(frames.shape[1]))
        return tuple(self._narrow(clip_of_batch(together, b), task) for b, task in enumerate(asked))

    def video_policy(self, task: Task | Sequence[Task], **settings: Any) -> Mask2FormerVISPolicy:
        """Say how a video is cut into clips, and how their outputs join.

        Args:
            task: as in :meth:`forward`.
            settings: of :class:`Mask2FormerVISPolicy`; the short side is the config's by default.
        """
        return Mask2FormerVISPolicy(
            self._tasks_of(task), **{"short_side": self.config.short_side, **settings}
        )

    def _tasks_of(self, task: Task | Sequence[Task]) -> tuple[CategoryTask]:
        tasks = self.check_tasks(as_tasks(task))
        if len(tasks) != 1 or not isinstance(tasks[0], CategoryTask):
            raise ValueError(f"{type(self).__name__}: task must be one VIS, got {len(tasks)} tasks")
        try:
            class_columns(self.vocabulary, tasks[0].resolve())
        except ValueError as error:
            raise ValueError(f"{type(self).__name__}: {error}") from error
        return (tasks[0],)

    def _decode(
        self, levels: dict[int, Tensor], size: tuple[int, int], indices: Sequence[int]
    ) -> ClipOutput:
        batch = levels[MASK_STRIDE].shape[0]
        queries = Queries(
            self.query_content.expand(batch, -1, -1),
            self.query_position[None],
            {"instance": slice(0, len(self.query_content))},
        )
        return ClipOutput(
            self.decoder(queries, self.decoder.context(levels)).predictions,
            levels[MASK_STRIDE],
            queries.groups,
            model_size=size,
            frame_indices=tuple(indices),
        )

    def _narrow(self, output: ClipOutput, task: CategoryTask) -> ClipOutput:
        """The output with logits of the task's classes alone."""
        columns = class_columns(self.vocabulary, task.resolve())
        predictions = tuple(
            replace(p, class_logits=narrow_classes(p.class_logits, columns))
            for p in output.predictions
            if p.class_logits is not None
        )
        return replace(output, predictions=predictions)


def decoder_steps(config: Mask2FormerVISConfig, num_classes: int) -> list[nn.Module]:
    """List the steps of the decoder: a prediction, and after each round another.

    Args:
        config: the numbers.
        num_classes: K of the classifier.
    """
    dim = config.embed_dim
    predict = Predict(
        nn.LayerNorm(dim),
        MaskEmbedding(mlp(dim, dim, dim, dim)),
        LinearClassHead(dim, num_classes, group="instance"),
    )
    steps: list[nn.Module] = [predict]
    for layer in range(config.decoder_layers):
        steps += [
            MaskedCrossAttention(dim, config.num_heads, stride=STRIDES[layer % len(STRIDES)]),
            SelfAttention(dim, config.num_heads),
            FeedForward(dim, config.decoder_hidden_dim),
            predict,
        ]
    return steps


def usual_class_weights(num_classes: int) -> Tensor:
    """Weights (K + 1,) of the classes in the loss, no-object last: 0.1, and 1 for all others."""
    weights = torch.ones(num_classes + 1)
    weights[-1] = _NO_OBJECT_WEIGHT
    return weights
