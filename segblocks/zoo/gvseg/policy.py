"""How GvSeg goes through a video: clips of three frames, joined by matching their queries."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from segblocks.results import FrameResult, TrackSummary
from segblocks.tasks import VPS, VSS, CategoryTask, HintTask, Task, as_tasks
from segblocks.text.vocabulary import Vocabulary
from segblocks.tracking.clips import check_clips, check_next, class_logits_of, selected_logits
from segblocks.tracking.full_size import full_size_argmax, full_size_masks
from segblocks.tracking.instances import InstanceTrack
from segblocks.tracking.object_propagation import check_propagation
from segblocks.tracking.overlap import LogitRows
from segblocks.tracking.semantic import class_map
from segblocks.tracking.shape_position import ShapePositionMatcher
from segblocks.zoo.gvseg.hinted import HintBook, Recall
from segblocks.zoo.gvseg.output import GvSegOutput
from segblocks.zoo.gvseg.panoptic import Candidates, merge_panoptic
from segblocks.zoo.gvseg.state import GvSegState

_NAME = "GvSegPolicy"
_LONG_SIDE = 1333
# A logit that no resizing brings above zero.
_NOWHERE = -1e4

Frames = Callable[[int], tuple[FrameResult, ...]]


class GvSegPolicy:
    """Go through a video with GvSeg, in clips that share no frame.

    Things and hinted objects are followed by :class:`~segblocks.tracking.ShapePositionMatcher`;
    classes need no following, their queries have a class each. A thing keeps its slot for the whole
    video, and its class is that of the mean of its logits over the clips; results are the best of
    the slots. Of each clip the masks of the slots are kept that are among the best then, or on the
    whole so far, twice as many as there will be results.

    A hinted object is looked for in every clip from its first hint on, by a query made of what the
    hints showed, among further queries for what is not hinted; it continues as the query that looks
    most like it did last. Where its mask is given, that is its mask.

    Implements :class:`~segblocks.tracking.policy.VideoPolicy`.

    Args:
        tasks: one of VIS, VPS and VSS, or tasks with hints on frames of the video.
        clip_length: frames of a clip (paper: 3).
        overlap: must be 0.
        short_side: resize frames to this short side; 0 leaves them as they are (paper: 720, and
            360 or 480 for YouTube-VIS and YouTube-VOS).
        long_side: the longest that the long side gets by that.
        spa_scale: weight of shape and position in the matching, see
            :class:`~segblocks.tracking.ShapePositionMatcher`, like the next two.
        normalize: bring appearance and shape to one length first.
        memory: how many earlier embeddings a slot goes by.
        max_instances: things that VIS returns (Mask2Former-VIS: 10).
        min_score: of segments of VPS (Mask2Former: 0.8).
        min_share: of a segment of VPS that others have to leave of it (Mask2Former: 0.8).
        propagation: share of the masks of hinted objects that is propagated from other frames by
            how pixels look, from 0 (none) to 1, see
            :class:`~segblocks.tracking.object_propagation.ObjectPropagation`; not in the paper.

    Raises:
        ValueError: tasks that do not go together, an overlap, a negative short side, or a
            propagation that is not from 0 to 1.

    Example:
        >>> from segblocks.tasks import VIS
        >>> GvSegPolicy(VIS("ovis")).clip_length
        3
    """

    def __init__(
        self,
        tasks: Task | Sequence[Task],
        *,
        clip_length: int = 3,
        overlap: int = 0,
        short_side: int | None = None,
        long_side: int = _LONG_SIDE,
        spa_scale: float = 1.0,
        normalize: bool = False,
        memory: int = 0,
        max_instances: int = 10,
        min_score: float = 0.8,
        min_share: float = 0.8,
        propagation: float = 0.0,
    ) -> None:
        self.tasks = as_tasks(tasks)
        self._category = next((t for t in self.tasks if isinstance(t, CategoryTask)), None)
        self._vocabulary = self._category.resolve() if self._category else None
        self._hinted = {n: t for n, t in enumerate(self.tasks) if isinstance(t, HintTask)}
        if self._category is not None and self._hinted:
            raise ValueError(
                f"{_NAME}: tasks must be one of VIS, VPS and VSS, or only tasks with hints, "
                f"got {[t.name for t in self.tasks]}"
            )
        self.clip_length = clip_length
        self.overlap = overlap
        self.short_side = short_side or None
        self.long_side = long_side
        self.matcher = ShapePositionMatcher(spa_scale=spa_scale, normalize=normalize, memory=memory)
        self.max_instances = max_instances
        self.min_score = min_score
        self.min_share = min_share
        self.propagation = propagation
        check_clips(_NAME, clip_length, overlap, short_side)
        check_propagation(_NAME, propagation)
        if overlap:
            raise ValueError(f"{_NAME}: overlap must be 0, its clips share no frame, got {overlap}")
        if max_instances < 1:
            raise ValueError(f"{_NAME}: max_instances must be at least 1, got {max_instances}")

    def start(self, size: tuple[int, int], model_size: tuple[int, int]) -> GvSegState:
        """Begin a video of frames of ``size``, shown to the model at ``model_size``."""
        state = GvSegState(size, model_size)
        if self._hinted:
            state.book = HintBook(self._hinted, size, model_size, propagation=self.propagation)
            state.next_start = state.book.first_frame
        return state

    def hints(self, state: GvSegState, num_frames: int | None = None) -> list[Task] | None:
        """Return the tasks of the next clip, or None where there is nothing to look for."""
        if state.book is None:
            return list(self.tasks)
        state.is_keyed = True
        asked = state.book.clip_tasks(state.next_start, num_frames or self.clip_length)
        return asked or ([Recall()] if state.features else None)

    def merge(
        self, output: GvSegOutput, state: GvSegState, *, last: bool = False
    ) -> Iterator[tuple[FrameResult, ...]]:
        """Take in a clip, and return its frames."""
        check_next(_NAME, output, state, self.overlap, last=last)
        if self._vocabulary is not None:
            class_logits_of(_NAME, output, self._vocabulary)
        start = state.next_start
        if self._vocabulary is None:
            frames = self._objects(output, state, start)
        elif isinstance(self._category, VSS):
            frames = self._semantic(output, self._vocabulary, state, start)
        elif isinstance(self._category, VPS):
            frames = self._panoptic(output, self._vocabulary, state, start)
        else:
            frames = self._instances(output, self._vocabulary, state, start)
        state.is_keyed = False
        done = state.advance(len(output.frame_indices), self.overlap, last=last)
        return (frames(t) for t in done)

    def skip(
        self, num_frames: int, state: GvSegState, *, last: bool = False
    ) -> Iterator[tuple[FrameResult, ...]]:
        """Let frames pass in which there is nothing to look for."""
        start = state.finished
        if start < state.next_start:
            state.finished += num_frames
        else:
            state.advance(num_frames, self.overlap, last=last)
        nothing = np.zeros((0, *state.size), dtype=np.bool_)
        return (
            tuple(self._object_result(n, {}, nothing, start + t, state) for n in self._hinted)
            for t in range(num_frames)
        )

    def summary(self, state: GvSegState) -> tuple[list[TrackSummary], ...]:
        """Return the final label and score of every track."""
        if self._vocabulary is None:
            return tuple(
                [TrackSummary(i) for i in task.object_ids] for task in self._hinted.values()
            )
        best = set(self._best(state, self._most))
        return (
            [
                TrackSummary(slot + 1, track.label, track.score, track.probabilities[:-1])
                for slot, track in enumerate(state.tracks)
                if track.visible and slot in best
            ],
        )

    @property
    def _most(self) -> int | None:
        return None if isinstance(self._category, VPS) else self.max_instances

    def _best(self, state: GvSegState, most: int | None) -> list[int]:
        """The slots of the highest scores so far."""
        scores = [track.score for track in state.tracks]
        return sorted(range(len(scores)), key=lambda slot: -scores[slot])[:most]

    def _follow(self, output: GvSegOutput, state: GvSegState) -> Tensor:
        """Find the query of each slot of things, and add its classes to the slot's."""
        things = output.groups["instance"]
        looks = output.looks(things)
        if state.slots is None:
            state.slots = self.matcher.start(looks.embeddings, looks.last)
            order = torch.arange(len(looks.embeddings), device=looks.embeddings.device)
        else:
            order = self.matcher.update(
                state.slots, looks.embeddings, looks.first, last_shapes=looks.last
            )
        assert output.class_logits is not None
        rows = output.class_logits[0, things][order].cpu().double().numpy()
        if not state.tracks:
            state.tracks = [InstanceTrack(np.zeros_like(row), 0) for row in rows]
        for track, row in zip(state.tracks, rows, strict=True):
            track.logit_sum += row
            track.num_clips += 1
        return order + things.start

    def _instances(
        self, output: GvSegOutput, vocabulary: Vocabulary, state: GvSegState, start: int
    ) -> Frames:
        order = self._follow(output, state)
        assert output.class_logits is not None
        now = output.class_logits[0, order].float().softmax(-1)[:, :-1].amax(-1)
        most = 2 * self.max_instances
        kept = sorted({*self._best(state, most), *now.argsort(descending=True)[:most].tolist()})
        logits = selected_logits(output, order[kept])

        def frame(t: int) -> tuple[FrameResult, ...]:
            masks = full_size_masks(logits[:, t], state.model_size, state.size)
            shown = np.flatnonzero(masks.any(axis=(1, 2))).tolist()
            return (
                self._things(state, vocabulary, [kept[n] for n in shown], masks[shown], start + t),
            )

        return frame

    def _things(
        self,
        state: GvSegState,
        vocabulary: Vocabulary,
        slots: list[int],
        masks: Any,
        index: int,
        semantic: Any = None,
    ) -> FrameResult:
        tracks = [state.tracks[slot] for slot in slots]
        for track in tracks:
            track.visible = True
        return FrameResult(
            index,
            tuple(slot + 1 for slot in slots),
            masks,
            tuple(vocabulary.classes[track.label] for track in tracks),
            tuple(track.score for track in tracks),
            semantic,
            vocabulary,
        )

    def _semantic(
        self, output: GvSegOutput, vocabulary: Vocabulary, state: GvSegState, start: int
    ) -> Frames:
        assert output.class_logits is not None
        scores = output.class_logits[0].float().softmax(-1)[:, :-1]
        masks = selected_logits(output, output.groups["semantic"]).sigmoid()
        rows = LogitRows.of_clip(
            range(len(vocabulary)), torch.einsum("qk,qthw->kthw", scores, masks)
        )
        nothing = np.zeros((0, *state.size), dtype=np.bool_)

        def frame(t: int) -> tuple[FrameResult, ...]:
            semantic = class_map(rows, t, state.model_size, state.size)
            return (FrameResult(start + t, (), nothing, (), (), semantic, vocabulary),)

        return frame

    def _panoptic(
        self, output: GvSegOutput, vocabulary: Vocabulary, state: GvSegState, start: int
    ) -> Frames:
        order = self._follow(output, state)
        assert output.class_logits is not None
        slots = [
            slot
            for slot, track in enumerate(state.tracks)
            if track.score > self.min_score and vocabulary.is_thing(track.label)
        ]
        stuff = output.groups["semantic"]
        probabilities = output.class_logits[0, stuff].float().softmax(-1)
        # Each query of a class answers for that class alone.
        own = probabilities[range(len(vocabulary.stuff_ids)), list(vocabulary.stuff_ids)].tolist()
        classes = [n for n, score in enumerate(own) if score > self.min_score]
        queries = order[slots].tolist() + [stuff.start + n for n in classes]
        candidates = Candidates(
            tuple(slots) + tuple(vocabulary.stuff_ids[n] for n in classes),
            len(slots),
            tuple(state.tracks[slot].score for slot in slots) + tuple(own[n] for n in classes),
        )
        index = torch.tensor(queries, dtype=torch.long, device=output.mask_features.device)
        logits = selected_logits(output, index)

        def frame(t: int) -> tuple[FrameResult, ...]:
            shown, masks, semantic = merge_panoptic(
                candidates, logits[:, t], state.model_size, state.size, self.min_share
            )
            return (self._things(state, vocabulary, shown, masks, start + t, semantic),)

        return frame

    def _objects(self, output: GvSegOutput, state: GvSegState, start: int) -> Frames:
        assert state.book is not None
        assert output.object_features is not None
        own = {
            key: part.start
            for key, part in zip(output.object_ids, output.object_slices, strict=True)
        }
        new = [key for key in own if key not in state.keys]
        queries = self._find(output, state, own, new)
        state.features = dict(zip(output.object_ids, output.object_features, strict=True))
        logits = selected_logits(output, torch.tensor([queries[key] for key in state.keys]))
        logits = state.book.blended(output, state.keys, logits, start)
        for row, key in enumerate(state.keys):
            logits[row, : max(0, state.book.objects[key].first_frame - start)] = _NOWHERE
        rows = {key: row for row, key in enumerate(state.keys)}

        def frame(t: int) -> tuple[FrameResult, ...]:
            results = []
            for n in self._hinted:
                keys = [key for key in rows if state.book.objects[key].task == n]  # type: ignore[union-attr]
                masks = _winners(logits[[rows[key] for key in keys], t], state)
                places = {key: place for place, key in enumerate(keys)}
                results.append(self._object_result(n, places, masks, start + t, state))
            return tuple(results)

        return frame

    def _find(
        self, output: GvSegOutput, state: GvSegState, own: dict[int, int], new: list[int]
    ) -> dict[int, int]:
        """Key -> query; new objects have their own, the others are matched with all the rest."""
        embeddings, first, last = output.looks(slice(0, output.queries[-1].shape[1]))
        queries: dict[int, int] = {}
        if state.slots is not None:
            taken = {own[key] for key in new}
            rest = [q for q in range(len(embeddings)) if q not in taken]
            order = self.matcher.update(
                state.slots, embeddings[rest], first[rest], last_shapes=last[rest]
            )
            queries = {key: rest[n] for key, n in zip(state.keys, order.tolist(), strict=True)}
        entering = [own[key] for key in new]
        if new and state.slots is None:
            state.slots = self.matcher.start(embeddings[entering], last[entering])
        elif new and state.slots is not None:
            self.matcher.add(state.slots, embeddings[entering], last[entering])
        state.keys += new
        return queries | {key: own[key] for key in new}

    def _object_result(
        self, n: int, places: dict[int, int], masks: Any, index: int, state: GvSegState
    ) -> FrameResult:
        """The objects of a task in hint order: given masks as they are, over all others."""
        assert state.book is not None
        ids = self._hinted[n].object_ids
        found = np.zeros((len(ids), *state.size), dtype=np.bool_)
        keys = {known.user_id: key for key, known in state.book.objects.items() if known.task == n}
        for place, user_id in enumerate(ids):
            if keys[user_id] in places:
                found[place] = masks[places[keys[user_id]]]
        given = state.book.given_masks(index)
        own = {place: given[keys[i]] for place, i in enumerate(ids) if keys[i] in given}
        for mask in own.values():
            found &= ~mask
        for place, mask in own.items():
            found[place] = mask
        return FrameResult(index, ids, found, (None,) * len(ids), (None,) * len(ids))


def _winners(logits: Tensor, state: GvSegState) -> Any:
    """Masks (n, H, W) of which each pixel belongs to at most one."""
    if len(logits) == 0:
        return np.zeros((0, *state.size), dtype=np.bool_)
    best, index = full_size_argmax(logits, state.model_size, state.size)
    winner = torch.where(best > 0, index, -1).cpu().numpy()
    return winner == np.arange(len(logits))[:, None, None]
