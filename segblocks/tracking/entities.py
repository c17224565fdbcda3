"""Instances that are found by detection, and then followed by prompts of themselves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segblocks.tasks import VOS, HintTask
from segblocks.tracking.detection import (
    assign,
    bi_softmax,
    drop_repeated,
    frame_iou,
    mask_quality,
    share_pixels,
)
from segblocks.tracking.embedding_memory import EmbeddingMemory
from segblocks.tracking.full_size import full_size_masks
from segblocks.tracking.overlap import LogitRows, join
from segblocks.tracking.prompted import Prompted

# Official: of the last frames of a known object that a detection is compared with.
_COMPARED_FRAMES = 3


@dataclass
class Entity:
    """What is remembered of an instance for good.

    Args:
        probability_sum: (K,) over the clips in which it was detected.
        quality_sum: of its masks there.
        num_clips: in which it was detected.
        last_seen: the last frame that shows it.
        visible: whether any frame that has left shows a pixel of it.
    """

    probability_sum: NDArray[np.float64]
    quality_sum: float
    num_clips: int
    last_seen: int
    visible: bool = False

    @property
    def class_scores(self) -> NDArray[np.float64]:
        """The mean probability of each class, times the mean quality of the masks."""
        return self.probability_sum * (self.quality_sum / self.num_clips**2)

    @property
    def label(self) -> int:
        """The class of the highest score."""
        return int(self.class_scores.argmax())

    @property
    def score(self) -> float:
        """The score of ``label``."""
        return float(self.class_scores.max())


@dataclass(frozen=True)
class EntitySettings:
    """Thresholds of :class:`EntityTracker`; defaults are the official ones for YouTube-VIS 2021.

    Args:
        min_score: of a new instance: the probability of its class times the quality of its mask.
        max_box_iou: up to which two detections of a clip stay.
        min_similarity: of a detection and the instance that it is taken for.
        min_consistency: of embeddings, for an instance to stay in a clip; half in the first clips.
        min_quality: of a detection.
        max_detections: of a clip, those of the highest scores.
        max_iou: of a new instance with what is there in the same frame.
        min_share: of its pixels that an instance has to win; None lets instances overlap.
        max_entities: that are asked for at a time; those that were not seen for longest go.
    """

    min_score: float = 0.25
    max_box_iou: float = 0.85
    min_similarity: float = 0.1
    min_consistency: float = 0.25
    min_quality: float = 0.25
    max_detections: int = 35
    max_iou: float = 0.5
    min_share: float | None = 0.5
    max_entities: int = 100


class Detections(NamedTuple):
    """Learnable queries of a clip that may show instances.

    Args:
        probabilities: (N, K).
        logits: (N, T, h, w).
        embeddings: (N, T, C).
    """

    probabilities: Tensor
    logits: Tensor
    embeddings: Tensor


class EntityTracker:
    """Follow instances by prompts of themselves, and find new ones by detection in each clip.

    UniVS section 3.4, in the manner of the official code. An instance is numbered from 1; the
    memory of prompts knows it by ``first_key`` + its number - 1.

    Args:
        settings: the thresholds.
        first_key: of the first instance in the memory.
        num_frames: whose embeddings are remembered.
    """

    def __init__(
        self, settings: EntitySettings, *, first_key: int = 1, num_frames: int = 5
    ) -> None:
        self.settings = settings
        self.first_key = first_key
        self.entities: dict[int, Entity] = {}
        self._active: dict[int, None] = {}
        self._embeddings = EmbeddingMemory(num_frames)
        self._window = LogitRows.none(0)
        self._num_entities = 0

    def clip_tasks(self) -> list[HintTask]:
        """Say what the model has to be shown for the next clip: the masks on the shared frames."""
        masks: dict[int, NDArray[np.bool_]] = {}
        keys: dict[int, list[int]] = {}
        for t in range(self._window.num_frames):
            ids, logits = self._window.frame(t)
            padded = (4 * logits.shape[-2], 4 * logits.shape[-1])
            full = full_size_masks(logits, padded, padded)
            shown = [n for n, i in enumerate(ids) if i in self._active and full[n].any()]
            if shown:
                masks[t] = full[shown]
                keys[t] = [ids[n] + self.first_key - 1 for n in shown]
        return [VOS(masks, keys)] if masks else []

    def take(self, found: Prompted, detections: Detections | None, start: int) -> list[int]:
        """Take in a clip; :meth:`finish` then gives its first frames away.

        Args:
            found: instances that the model was asked for, by their keys.
            detections: of the clip, or None where nothing new is looked for.
            start: index in the video of the clip's first frame.

        Returns:
            Keys of instances that are given up.
        """
        ids = tuple(key - self.first_key + 1 for key in found.ids)
        known = self._track(found._replace(ids=ids), start)
        clip = join(self._window, LogitRows.of_clip(known.ids, known.logits))
        if detections is not None:
            clip = self._detect(detections, clip, start)
        self._window = clip
        shown = clip.masks.flatten(2).any(dim=2).tolist()
        for track_id, frames in zip(clip.ids, shown, strict=True):
            if any(frames):
                last = max(t for t, is_there in enumerate(frames) if is_there)
                self.entities[track_id].last_seen = start + last
        return self._give_up()

    def finish(self, num_done: int) -> LogitRows:
        """Return the logits of instances over the first frames, which no later clip holds."""
        finished, self._window = self._window.split(num_done)
        return finished

    def forget_ended(self) -> None:
        """Drop what is only needed for a summary."""
        needed = {*self._active, *self._window.ids}
        self.entities = {i: entity for i, entity in self.entities.items() if i in needed}

    def _track(self, found: Prompted, start: int) -> Prompted:
        """The instances that look as before, without the pixels that others won."""
        settings = self.settings
        wanted = settings.min_consistency * (0.5 if start < found.logits.shape[1] else 1.0)
        consistency = self._embeddings.consistency(found.ids, found.embeddings)
        kept = found.select(consistency > wanted)
        if settings.min_share is not None and kept.ids:
            scores = [self.entities[i].score for i in kept.ids]
            weights = consistency[consistency > wanted] * consistency.new_tensor(scores)
            weights = weights * mask_quality(kept.logits)
            shared, wins = share_pixels(kept.logits, weights, settings.min_share)
            kept = kept._replace(logits=shared).select(wins)
        self._embeddings.update(kept.ids, kept.embeddings, start)
        return kept

    def _detect(self, detections: Detections, clip: LogitRows, start: int) -> LogitRows:
        """The rows of a clip with those of new instances and of known ones that were found."""
        detections, scores, quality = self._select(detections)
        known = tuple(self._active)
        last = self._embeddings.last(known, _COMPARED_FRAMES, detections.embeddings.float())
        similarity = bi_softmax(detections.embeddings, last)
        pairs = assign(similarity, self.settings.min_similarity)
        probabilities = detections.probabilities.double().cpu().numpy()
        there = clip.masks
        rows: dict[int, Tensor] = {}
        for n, score in enumerate(scores.tolist()):
            if n in pairs:
                track_id = known[pairs[n]]
                if similarity[n, pairs[n]] > 2 * self.settings.min_similarity:
                    rows[track_id] = detections.logits[n]
            elif self._is_new(detections.logits[n] > 0, score, there):
                self._num_entities += 1
                track_id = self._num_entities
                self._active[track_id] = None
                zeros = np.zeros(probabilities.shape[1])
                self.entities[track_id] = Entity(zeros, 0.0, 0, start)
                rows[track_id] = detections.logits[n]
            else:
                continue
            entity = self.entities[track_id]
            entity.probability_sum += probabilities[n]
            entity.quality_sum += float(quality[n])
            entity.num_clips += 1
            self._embeddings.update([track_id], detections.embeddings[n][None], start)
        if not rows:
            return clip
        return join(clip, LogitRows.of_clip(tuple(rows), torch.stack(tuple(rows.values()))))

    def _select(self, detections: Detections) -> tuple[Detections, Tensor, Tensor]:
        """The best detections, each thing once, with their scores and qualities."""
        settings = self.settings
        quality = mask_quality(detections.logits)
        scores = detections.probabilities.amax(dim=-1) * quality
        order = scores.argsort(descending=True, stable=True)
        order = order[quality[order] >= settings.min_quality][: settings.max_detections]
        chosen = order[
            drop_repeated(detections.logits[order] > 0, scores[order], settings.max_box_iou)
        ]
        return Detections(*(x[chosen] for x in detections)), scores[chosen], quality[chosen]

    def _is_new(self, mask: Tensor, score: float, there: Tensor) -> bool:
        if score <= self.settings.min_score or not mask.any():
            return False
        return not len(there) or float(frame_iou(mask[None], there).max()) < self.settings.max_iou

    def _give_up(self) -> list[int]:
        by_age = sorted(self._active, key=lambda i: self.entities[i].last_seen)
        gone = by_age[: max(0, len(by_age) - self.settings.max_entities)]
        for track_id in gone:
            del self._active[track_id]
        self._embeddings.remove(gone)
        return [track_id + self.first_key - 1 for track_id in gone]
