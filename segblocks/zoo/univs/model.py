"""UniVS: prompts as queries, for six tasks and any vocabulary."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from segblocks.nn import (
    ClipOutput,
    Decoder,
    DecoderContext,
    Memory,
    PredictByText,
    Queries,
    VisualSampler,
    concatenate_queries,
)
from segblocks.nn.visual_sampler import Permutation
from segblocks.tasks import CategoryTask, HintTask, RefVOS, Task, as_tasks
from segblocks.tracking.prompt_memory import PromptMemory
from segblocks.zoo.clip_model import MASK_STRIDE, STRIDES, ClipModel, size_of
from segblocks.zoo.univs.config import UniVSConfig
from segblocks.zoo.univs.hinted import ClipHints, gather_hints, object_queries, sample_hints
from segblocks.zoo.univs.policy import MEMORY_FRAMES, UniVSPolicy
from segblocks.zoo.univs.prompts import (
    PROMPT_STRIDE,
    PROMPT_TYPES,
    PromptEncoder,
    Prompts,
)
from segblocks.zoo.univs.state import ClassPrompts, Recall, UniVSState
from segblocks.zoo.univs.steps import decoder_steps
from segblocks.zoo.univs.text import UniVSText
from segblocks.zoo.univs.training import UniVSOutput, train_clip

TEXT_FILE = "text.safetensors"


class UniVS(ClipModel):
    """UniVS (Li et al., CVPR 2024), after the official code where it differs from the paper.

    Learnable queries find objects of any vocabulary; what a user shows or says becomes a query of
    its own, a prompt, refined by tokens of the prompt in every layer. Learnable queries do not see
    prompts, so that all tasks can be asked in one pass. There is a query for each frame, and frames
    pass nothing to each other before the decoder.

    Args:
        config: the numbers; the default is ``univs_resnet50``.

    Example:
        >>> from segblocks.tasks import PET, VIS
        >>> config = UniVSConfig(num_queries=9, neck_layers=1, decoder_layers=3, text_dim=16,
        ...                      neck_hidden_dim=64, decoder_hidden_dim=64, text_encoder="hash/16",
        ...                      text_templates="name")
        >>> model = UniVS(config).eval()
        >>> frames = torch.zeros(1, 2, 3, 60, 100, dtype=torch.uint8)
        >>> output = model(frames, [VIS("ovis"), PET([(50, 20)])])
        >>> output.mask_logits.shape, output.class_logits.shape, output.object_slices
        (torch.Size([1, 10, 2, 16, 32]), torch.Size([1, 10, 25]), (slice(9, 10, None),))
    """

    tasks = ("vis", "vps", "vss", "vos", "pvos", "pet", "evs", "refvos")
    no_decay_names = ("query_content", "query_position")
    config: UniVSConfig
    reid_temperature: Tensor

    def __init__(self, config: UniVSConfig | None = None) -> None:
        config = config or UniVSConfig()
        super().__init__(config)
        dim = config.embed_dim
        self.query_content = nn.Parameter(torch.randn(config.num_queries, dim))
        self.query_position = nn.Parameter(torch.randn(config.num_queries, dim))
        self.prompts = PromptEncoder(config)
        self.decoder = Decoder(decoder_steps(config), dim, strides=STRIDES, time=config.time)
        # Nothing reads it; it travels with the official checkpoints.
        self.register_buffer("reid_temperature", torch.zeros(1, 1))
        self.text = UniVSText(config.text_encoder, config.text_templates, config.text_dim)
        self.permutation: Permutation | None = None

    @property
    def predict(self) -> PredictByText:
        """The step of the decoder that predicts."""
        step = self.decoder.steps[1]
        assert isinstance(step, PredictByText)
        return step

    def extract(self, frames: Tensor) -> dict[int, Tensor]:
        """Encode frames, each by itself: normalise, pad, backbone and neck.

        Args:
            frames: (B, T, 3, H, W) RGB on the scale 0..255, uint8 or float.

        Returns:
            stride -> (B, T, C, H' / s, W' / s), H' and W' being the padded size.

        Raises:
            ValueError: another shape.
        """
        return self.neck(super().extract(frames))

    @property
    def feature_channels(self) -> dict[int, int]:
        """Stride -> channels of what :meth:`extract` returns."""
        return dict.fromkeys((*STRIDES, MASK_STRIDE), self.config.embed_dim)

    def forward(
        self,
        frames: Tensor,
        task: Task | Sequence[Task],
        *,
        frame_indices: Sequence[int] | None = None,
        state: UniVSState | None = None,
        features: Mapping[int, Tensor] | None = None,
    ) -> ClipOutput:
        """Segment one clip.

        Args:
            frames: (B, T, 3, H, W) RGB on the scale 0..255, uint8 or float. B is 1 where a task
                has hints.
            task: one of :attr:`tasks`, or several, at most one of VIS, VPS and VSS; hints lie on
                frames of the clip. Masks have the size of the frames, or of the frames padded to
                multiples of ``config.size_multiple``: predicted ones reach into the padding.
            frame_indices: of the frames in their video; None goes on where the last merge left
                ``state``, or counts from 0.
            state: of the video, with the memory of its prompts, to which this clip is added; it is
                handed on in the output. None begins a video with this clip.
            features: what :meth:`extract` returned for these frames, when it is at hand.

        Returns:
            The output; groups are ``learnable``, and ``visual``, ``category`` and ``grounding``,
            together ``prompt``. Class logits are those of all queries for the classes of VIS, VPS
            or VSS, without no-object, to go through a sigmoid.

        Raises:
            ValueError: a task this model cannot do, hints that do not fit, or features or indices
                of other frames.
        """
        tasks = self._tasks_of(task)
        levels, size = self.features_of(frames, features), size_of(frames)
        indices = self.frame_indices(frame_indices, frames.shape[1], state)
        if state is None:
            state = self._begin(tasks, size, indices)
        context = self.clip_context(levels, indices)
        hinted = self.gather(tasks, frames, state)
        prompts = self.text_prompts(tasks, context)
        state.prompts.advance(indices[0] + len(indices), start=indices[0])
        self._remember(hinted, state.prompts, context, indices, self.padded_size(frames))
        if state.prompts.ids:
            prompts["visual"] = self.prompts.visual(state.prompts, indices[0], len(indices))
        need = state.needs_learnable or self.config.separation == "sep-l2p"
        queries = self.queries(prompts, context, learnable=need)
        slices, ids = object_queries(tasks, hinted, state, queries.groups)
        return ClipOutput(
            self.decoder(queries, context).predictions,
            levels[MASK_STRIDE],
            queries.groups,
            model_size=size,
            frame_indices=indices,
            object_slices=slices,
            object_ids=ids,
            state=state,
            # The mask features are there anyway, and would count twice.
            frame_features={s: level for s, level in levels.items() if s != MASK_STRIDE},
        )

    def forward_clips(
        self,
        frames: Tensor,
        tasks: Sequence[Task | Sequence[Task]],
        *,
        generators: Sequence[torch.Generator] | None = None,
    ) -> tuple[UniVSOutput, ...]:
        """Segment clips that have tasks of their own, for training.

        Backbone and neck take all clips at once. The tokens of a visual prompt are those of the
        first frame that shows the object. Where time is absolute, a clip begins at an index that is
        drawn, since videos are longer than what training sees of them.

        Args:
            frames: (B, T, 3, H, W), as in :meth:`forward`.
            tasks: of each clip, hints of any number of objects.
            generators: of each clip, on the CPU, of all that is drawn: the index of the first
                frame, the pixels of visual prompts, and the permutations of
                ``config.permute_time``. Without, clips begin at 0, pixels go by number, and
                permutations by torch's global generator.

        Returns:
            One output a clip, each with one clip and without a state.

        Raises:
            ValueError: tasks or generators that are not one a clip; else as :meth:`forward`.
        """
        self.check_batch(frames, tasks=tasks, generators=generators)
        checked = [self._tasks_of(task) for task in tasks]
        levels = self.extract(frames)
        return tuple(
            train_clip(
                self,
                frames[b : b + 1],
                checked[b],
                {stride: level[b : b + 1] for stride, level in levels.items()},
                generator=generators[b] if generators else None,
            )[0]
            for b in range(len(frames))
        )

    def video_policy(self, task: Task | Sequence[Task], **settings: Any) -> UniVSPolicy:
        """Say how a video is cut into clips, and how their outputs join.

        Args:
            task: as in :meth:`forward`, with hints on frames of the video.
            settings: of :class:`UniVSPolicy`.
        """
        tasks = self._tasks_of(task)
        settings = {name: value for name, value in settings.items() if value is not None}
        own = ("official_compat", "short_side", "clip_length", "overlap", "propagation")
        defaults = {name: getattr(self.config, name) for name in own}
        if "clip_length" in settings:
            # The config's overlap belongs to its own clips.
            del defaults["overlap"]
        return UniVSPolicy(tasks, norm=self.predict.norm, **{**defaults, **settings})

    def queries(
        self, prompts: Mapping[str, Prompts], context: DecoderContext, *, learnable: bool = True
    ) -> Queries:
        """Put learnable queries and prompts together, and the tokens of prompts into the context.

        Args:
            prompts: kind, one of :data:`PROMPT_TYPES`, -> prompts.
            context: of the clip.
            learnable: with the learnable queries, which prompts do without in most cases.
        """
        batch, frames = context.levels[STRIDES[0]].tokens.shape[:2]
        own = self.query_content if learnable else self.query_content[:0]
        places = self.query_position if learnable else self.query_position[:0]
        content = own[None, :, None].expand(batch, -1, frames, -1)
        parts = [("learnable", content, places[None, :, None])]
        for kind in PROMPT_TYPES:
            if kind in prompts:
                parts.append((kind, prompts[kind].content, prompts[kind].position))
                context.memory[kind] = prompts[kind].memory
        queries = concatenate_queries(parts)
        whole = slice(len(own), queries.content.shape[1])
        return Queries(queries.content, queries.position, {**queries.groups, "prompt": whole})

    def text_prompts(self, tasks: Sequence[Task], context: DecoderContext) -> dict[str, Prompts]:
        """Make the queries of expressions, and give the context the classes to tell apart."""
        prompts: dict[str, Prompts] = {}
        expressions = [e for task in tasks if isinstance(task, RefVOS) for e in task.expressions]
        if expressions:
            words, sentences, known = self.text.expressions(expressions)
            features = torch.cat((sentences[:, None], words), dim=1)
            prompts["grounding"] = self.prompts.spoken(features, context, "grounding", known=known)
        for task in tasks:
            if isinstance(task, CategoryTask):
                table = self.text.classes(task.resolve()).to(self.query_content)
                context.memory[self.predict.memory] = Memory(table[None])
            elif isinstance(task, ClassPrompts):
                features = self.text.classes(task.vocabulary)[:, None]
                prompts["category"] = self.prompts.spoken(features, context, "category")
        return prompts

    def save_extra(self, folder: Path) -> None:
        """Write the embeddings of the class names that were used so far."""
        self.text.save(folder / TEXT_FILE)

    def load_extra(self, folder: Path) -> None:
        """Read the embeddings of class names."""
        self.text.load(folder / TEXT_FILE)

    def _tasks_of(self, task: Task | Sequence[Task]) -> tuple[Task, ...]:
        tasks = as_tasks(task)
        self.check_tasks(tuple(t for t in tasks if not isinstance(t, Recall | ClassPrompts)))
        return tasks

    def _begin(
        self, tasks: tuple[Task, ...], size: tuple[int, int], indices: Sequence[int]
    ) -> UniVSState:
        """The state of a video of which this is the first clip, with these tasks."""
        start = indices[0]
        in_video = [t.window(-start, sys.maxsize) if isinstance(t, HintTask) else t for t in tasks]
        policy = self.video_policy(
            [task for task in in_video if task is not None],
            memory_frames=max(MEMORY_FRAMES, len(indices)),
        )
        state = policy.start(size, size)
        state.next_start = state.finished = start
        state.needs_learnable = True
        return state

    def clip_context(self, levels: Mapping[int, Tensor], indices: Sequence[int]) -> DecoderContext:
        return self.decoder.context(levels, self.times(indices))

    def times(self, indices: Sequence[int]) -> Sequence[int] | None:
        """Frame indices where time is absolute."""
        return indices if self.config.time == "absolute" else None

    def gather(self, tasks: Sequence[Task], frames: Tensor, state: UniVSState | None) -> ClipHints:
        hinted = [task for task in tasks if isinstance(task, HintTask)]
        remembered = state is not None and state.prompts.ids
        if (hinted or remembered) and len(frames) != 1:
            raise ValueError(
                f"{type(self).__name__}: tasks with hints take one clip, got {len(frames)}"
            )
        size = size_of(frames)
        padded = self.padded_size(frames)
        keyed = state is not None and state.is_keyed
        return gather_hints(hinted, frames.shape[1], size, padded, keep_ids=keyed)

    def sampler(self, num_tokens: int, permutation: Permutation | None = None) -> VisualSampler:
        """Make what samples visual prompts; ``permutation`` is the model's own by default."""
        return VisualSampler(
            num_tokens,
            stride=PROMPT_STRIDE,
            permutation=permutation or self.permutation,
            official_compat=self.config.official_compat,
        )

    def _remember(
        self,
        hinted: ClipHints,
        memory: PromptMemory,
        context: DecoderContext,
        indices: Sequence[int],
        padded: tuple[int, int],
    ) -> None:
        """Add what the hints of a clip show to the memory."""
        for key, frame in hinted.first_frames.items():
            if key not in memory.ids:
                memory.add(key, indices[0] + frame)
        sampler = self.sampler(memory.num_tokens)
        found = sample_hints(hinted, sampler, context, padded, self.times(indices))
        for frame, tokens in found.items():
            for key, (features, positions) in tokens.items():
                memory.write(key, indices[0] + frame, features, positions)
