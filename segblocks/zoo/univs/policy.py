"""How UniVS goes through a video: what it detects, what it is prompted with, how clips join."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from segblocks.nn.clip_output import ClipOutput
from segblocks.results import FrameResult, TrackSummary
from segblocks.tasks import VPS, VSS, CategoryTask, HintTask, RefVOS, Task, as_tasks
from segblocks.tracking.clips import check_clips, check_next, selected_logits
from segblocks.tracking.entities import Detections, EntitySettings, EntityTracker
from segblocks.tracking.full_size import full_size_masks
from segblocks.tracking.object_propagation import check_propagation
from segblocks.tracking.overlap import LogitRows, join
from segblocks.tracking.prompt_memory import PromptMemory
from segblocks.tracking.prompted import Prompted, PromptedTracker
from segblocks.tracking.semantic import SemanticJoiner, class_map
from segblocks.zoo.univs.semantic import semantic_scores
from segblocks.zoo.univs.state import Recall, UniVSState

_NAME = "UniVSPolicy"
_CLIP_LENGTH = 5
_SHORT_SIDE = 640
_LONG_SIDE = 1333
MEMORY_FRAMES = 5

# From the official scripts of the last training stage.
_TOKENS = {"vis": 128, "vps": 64, "vss": 32, "refvos": 32}
_HINT_TOKENS = 256
_ENTITIES = {
    "youtube_vis_2019": EntitySettings(),
    "youtube_vis_2021": EntitySettings(),
    "ovis": EntitySettings(min_score=0.2, max_detections=50),
}
_ENTITIES_VPS = EntitySettings(
    min_score=0.15,
    max_box_iou=0.75,
    min_similarity=0.05,
    min_consistency=0.05,
    min_share=None,
    max_detections=70,
)


class _Finished(NamedTuple):
    """Logits over the frames that a clip has finished, the first of which is ``start``."""

    start: int
    objects: LogitRows
    entities: LogitRows
    semantic: LogitRows
    spoken: LogitRows


class UniVSPolicy:
    """Go through a video with UniVS, for one of VIS, VPS and VSS and any number of other tasks.

    All tasks are asked for in one pass over the same clips. Hinted objects, and the instances that
    learnable queries find, become prompts: their tokens are sampled anew from the masks on frames
    that clips share, and remembered (UniVS section 3.4). Logits are averaged on shared frames.
    Without VIS, VPS, VSS and RefVOS the first clip begins at the first frame that holds a hint.

    Implements :class:`~segblocks.tracking.policy.VideoPolicy`.

    Args:
        tasks: as in :func:`segblocks.segment`, with hints on frames of the video.
        norm: of the decoder; embeddings are compared behind it.
        clip_length: frames of a clip (official: 5).
        overlap: frames that successive clips share; default: all but one, as the official code, and
            none for VSS alone.
        short_side: resize frames to this short side; 0 leaves them as they are (official: 640).
        long_side: the longest that the long side gets by that (official: 1333).
        memory_frames: last frames whose tokens and embeddings are remembered, at least those of a
            clip (official: 5, with Swin-L 6).
        tokens_per_prompt: pixels that a prompt keeps of a frame; default: the greatest official
            number for the tasks.
        detect_every: new instances are looked for in every so many clips.
        entities: thresholds of VIS and VPS; default: the official ones for the vocabulary.
        min_score: of a new instance, in place of that of ``entities``.
        min_consistency: of the embeddings of a hinted object, to be taken for it (official: 0.5).
        min_share: of the pixels of a hinted object that no other one wins (official: 0.25).
        propagation: share of the masks of hinted objects that is propagated from other frames by
            how pixels look, from 0 (none) to 1, see
            :class:`~segblocks.tracking.object_propagation.ObjectPropagation`; not in the paper.
        official_compat: leave the memory of objects empty before they appeared.

    Raises:
        ValueError: an overlap that is not from 0 to clip_length - 1, or 0 where objects go from
            clip to clip by the shared frames; a propagation that is not from 0 to 1; other numbers
            that are not positive.

    Example:
        >>> from segblocks.tasks import PET, VIS
        >>> policy = UniVSPolicy([VIS("ovis"), PET([(4, 4)])], norm=torch.nn.Identity())
        >>> policy.clip_length, policy.overlap, policy.short_side, policy.tokens_per_prompt
        (5, 4, 640, 256)
    """

    resizing = "pillow"  # as detectron2

    def __init__(
        self,
        tasks: Task | Sequence[Task],
        *,
        norm: Callable[[Tensor], Tensor],
        clip_length: int | None = None,
        overlap: int | None = None,
        short_side: int | None = None,
        long_side: int = _LONG_SIDE,
        memory_frames: int = MEMORY_FRAMES,
        tokens_per_prompt: int | None = None,
        detect_every: int = 1,
        entities: EntitySettings | None = None,
        min_score: float | None = None,
        min_consistency: float = 0.5,
        min_share: float = 0.25,
        propagation: float = 0.0,
        official_compat: bool = False,
    ) -> None:
        self.tasks = as_tasks(tasks)
        self._norm = norm
        self._category = next((t for t in self.tasks if isinstance(t, CategoryTask)), None)
        self._vocabulary = self._category.resolve() if self._category else None
        self._hinted = {n: t for n, t in enumerate(self.tasks) if isinstance(t, HintTask)}
        self._spoken = {n: t for n, t in enumerate(self.tasks) if isinstance(t, RefVOS)}
        self._finds_entities = self._category is not None and not isinstance(self._category, VSS)
        self._shares = bool(self._hinted) or self._finds_entities
        self.clip_length = _CLIP_LENGTH if clip_length is None else clip_length
        most = self.clip_length - 1 if self._shares or self._spoken else 0
        self.overlap = most if overlap is None else overlap
        self.short_side = (_SHORT_SIDE if short_side is None else short_side) or None
        self.long_side = long_side
        self.memory_frames = max(memory_frames, self.clip_length)
        default = max(_TOKENS.get(task.name, _HINT_TOKENS) for task in self.tasks)
        self.tokens_per_prompt = default if tokens_per_prompt is None else tokens_per_prompt
        self.detect_every = detect_every
        self.entities = entities or self._default_entities()
        if min_score is not None:
            self.entities = replace(self.entities, min_score=min_score)
        self.min_consistency = min_consistency
        self.min_share = min_share
        self.propagation = propagation
        self.official_compat = official_compat
        self._check_settings()

    def start(self, size: tuple[int, int], model_size: tuple[int, int]) -> UniVSState:
        """Begin a video of frames of ``size``, shown to the model at ``model_size``."""
        memory = PromptMemory(
            num_tokens=self.tokens_per_prompt,
            num_frames=self.memory_frames,
            official_compat=self.official_compat,
        )
        needs_learnable = self._category is not None or bool(self._spoken)
        state = UniVSState(size, model_size, prompts=memory, needs_learnable=needs_learnable)
        if self._hinted:
            state.objects = PromptedTracker(
                self._hinted,
                size,
                model_size,
                num_frames=self.memory_frames,
                min_consistency=self.min_consistency,
                min_share=self.min_share,
                propagation=self.propagation,
            )
            if len(self._hinted) == len(self.tasks):
                state.next_start = state.objects.first_frame
        if self._finds_entities:
            first = 1 + (len(state.objects.objects) if state.objects else 0)
            state.entities = EntityTracker(
                self.entities, first_key=first, num_frames=self.memory_frames
            )
        if isinstance(self._category, VPS | VSS) and self._vocabulary is not None:
            classes = range(len(self._vocabulary))
            stuff = self._vocabulary.stuff_ids
            state.semantic = SemanticJoiner(stuff if isinstance(self._category, VPS) else classes)
        return state

    def hints(self, state: UniVSState, num_frames: int | None = None) -> list[Task] | None:
        """Return the tasks of the next clip, or None where there is nothing to look for."""
        tasks: list[Task] = [] if self._category is None else [self._category]
        if state.objects is not None:
            length = num_frames or self.clip_length
            tasks += state.objects.clip_tasks(state.next_start, length)
        if state.entities is not None:
            tasks += state.entities.clip_tasks()
        tasks += self._spoken.values()
        state.is_keyed = True
        if not tasks and state.prompts.ids:
            return [Recall()]
        return tasks or None

    def merge(
        self, output: ClipOutput, state: UniVSState, *, last: bool = False
    ) -> Iterator[tuple[FrameResult, ...]]:
        """Take in a clip, and return the frames that are finished now; one result a task each."""
        check_next(_NAME, output, state, self.overlap, last=last)
        self._check_classes(output)
        start = state.next_start
        done = state.advance(len(output.frame_indices), self.overlap, last=last)
        prompted = self._prompted(output, state)
        nothing = LogitRows.none(len(done))
        objects = entities = semantic = spoken = nothing
        if state.objects is not None:
            own = prompted.select([i in state.objects.objects for i in prompted.ids])
            objects = state.objects.take(output, own, start, len(done), last=last)
        if state.entities is not None:
            entities = self._take_entities(output, state, prompted, start, len(done))
        if state.semantic is not None:
            scores = semantic_scores(output, self._probabilities(output), state.semantic.classes)
            semantic = state.semantic.update(scores, len(done))
        if self._spoken:
            logits = selected_logits(output, output.groups["grounding"])
            clip = LogitRows.of_clip(range(1, len(logits) + 1), logits)
            spoken, state.spoken = join(state.spoken, clip).split(len(done))
        state.num_clips += 1
        state.is_keyed = False
        finished = _Finished(start, objects, entities, semantic, spoken)
        return (self._frame(state, finished, t) for t in done)

    def skip(
        self, num_frames: int, state: UniVSState, *, last: bool = False
    ) -> Iterator[tuple[FrameResult, ...]]:
        """Let frames pass in which there is nothing to look for; else as ``merge``."""
        start = state.finished
        nothing = LogitRows.none(num_frames)
        if start < state.next_start:
            state.finished += num_frames
            done = range(num_frames)
        else:
            done = state.advance(num_frames, self.overlap, last=last)
        finished = _Finished(start, nothing, nothing, nothing, nothing)
        return (self._frame(state, finished, t) for t in done)

    def summary(self, state: UniVSState) -> tuple[list[TrackSummary], ...]:
        """Return the final label and score of every track that some frame shows, a list a task.

        Objects of hints and expressions have neither.
        """
        return tuple(
            [TrackSummary(i) for i in task.object_ids]
            if isinstance(task, HintTask | RefVOS)
            else self._track_summaries(state)
            for task in self.tasks
        )

    def _check_settings(self) -> None:
        check_clips(_NAME, self.clip_length, self.overlap, self.short_side)
        check_propagation(_NAME, self.propagation)
        if self._shares and self.overlap == 0:
            raise ValueError(
                f"{_NAME}: overlap must be at least 1 for tasks whose objects go from clip to clip "
                f"by the shared frames; got 0 with clip_length {self.clip_length}"
            )
        for name in ("memory_frames", "tokens_per_prompt", "detect_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{_NAME}: {name} must be at least 1, got {getattr(self, name)}")

    def _default_entities(self) -> EntitySettings:
        if isinstance(self._category, VPS):
            return _ENTITIES_VPS
        name = self._vocabulary.name if self._vocabulary is not None else ""
        return _ENTITIES.get(name, EntitySettings())

    def _check_classes(self, output: ClipOutput) -> None:
        if self._vocabulary is None:
            return
        logits = output.class_logits
        if logits is None or logits.shape[-1] != len(self._vocabulary):
            got = None if logits is None else tuple(logits.shape)
            raise ValueError(
                f"{_NAME}: class_logits must have the {len(self._vocabulary)} classes of "
                f"{self._vocabulary.name}, got {got}"
            )

    def _prompted(self, output: ClipOutput, state: UniVSState) -> Prompted:
        """What a clip says of all objects in the memory, in its order."""
        part = output.groups.get("visual", slice(0, 0))
        embeddings = self._norm(output.queries[-1][0, part])
        return Prompted(state.prompts.ids, selected_logits(output, part), embeddings)

    def _probabilities(self, output: ClipOutput) -> Tensor:
        """(Q, K) of the learnable queries."""
        assert output.class_logits is not None
        return output.class_logits[0, output.groups["learnable"]].float().sigmoid()

    def _take_entities(
        self,
        output: ClipOutput,
        state: UniVSState,
        prompted: Prompted,
        start: int,
        num_done: int,
    ) -> LogitRows:
        assert state.entities is not None
        if not state.summarised:
            state.entities.forget_ended()
        first = state.entities.first_key
        own = prompted.select([key >= first for key in prompted.ids])
        detections = None
        if state.num_clips % self.detect_every == 0:
            detections = self._detections(output)
        gone = state.entities.take(own, detections, start)
        state.prompts.remove([key for key in gone if key in state.prompts.ids])
        return state.entities.finish(num_done)

    def _detections(self, output: ClipOutput) -> Detections:
        """The learnable queries that may be among the best: quality only lowers a probability."""
        probabilities = self._probabilities(output)
        candidates = probabilities
        if isinstance(self._category, VPS) and self._vocabulary is not None:
            stuff = list(self._vocabulary.stuff_ids)
            things = probabilities.clone()
            things[:, stuff] = 0
            candidates = torch.where(
                (probabilities.argmax(-1) == things.argmax(-1))[:, None], things, 0.0
            )
        most = 2 * self.entities.max_detections
        order = candidates.amax(dim=-1).argsort(descending=True, stable=True)[:most]
        order = order[candidates[order].amax(dim=-1) > 0]
        queries = order + output.groups["learnable"].start
        return Detections(
            candidates[order],
            selected_logits(output, queries),
            self._norm(output.queries[-1][0, queries]),
        )

    def _frame(self, state: UniVSState, finished: _Finished, t: int) -> tuple[FrameResult, ...]:
        results, spoken = [], 0
        for n, task in enumerate(self.tasks):
            if n in self._hinted:
                assert state.objects is not None
                masks = state.objects.masks(n, finished.objects, t)
                results.append(_unlabelled(finished.start + t, self._hinted[n].object_ids, masks))
            elif isinstance(task, RefVOS):
                first, spoken = spoken, spoken + len(task.object_ids)
                logits = finished.spoken.logits[first:spoken, t]
                masks = full_size_masks(logits, state.model_size, state.size)
                results.append(_unlabelled(finished.start + t, task.object_ids, masks))
            else:
                results.append(self._category_result(state, finished, t))
        return tuple(results)

    def _category_result(self, state: UniVSState, finished: _Finished, t: int) -> FrameResult:
        assert self._vocabulary is not None
        semantic = None
        if state.semantic is not None:
            semantic = class_map(finished.semantic, t, state.model_size, state.size)
        ids: tuple[int, ...] = ()
        masks = np.zeros((0, *state.size), dtype=np.bool_)
        if state.entities is not None:
            ids, logits = finished.entities.frame(t)
            masks = full_size_masks(logits, state.model_size, state.size)
            shown = np.flatnonzero(masks.any(axis=(1, 2))).tolist()
            ids, masks = tuple(ids[n] for n in shown), masks[shown]
        entities = [state.entities.entities[i] for i in ids] if state.entities else []
        for entity in entities:
            entity.visible = True
        return FrameResult(
            finished.start + t,
            ids,
            masks,
            tuple(self._vocabulary.classes[entity.label] for entity in entities),
            tuple(entity.score for entity in entities),
            semantic,
            self._vocabulary,
        )

    def _track_summaries(self, state: UniVSState) -> list[TrackSummary]:
        if state.entities is None:
            return []
        return [
            TrackSummary(number, entity.label, entity.score, entity.class_scores)
            for number, entity in state.entities.entities.items()
            if entity.visible
        ]


def _unlabelled(index: int, ids: tuple[int, ...], masks: np.ndarray) -> FrameResult:
    nothing = (None,) * len(ids)
    return FrameResult(index, ids, masks, nothing, nothing)
