"""What came out of a video: the masks of each frame, and of the whole video as tracks."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from segblocks._files import expand
from segblocks.frame_result import FrameResult
from segblocks.ops.packed_map import PackedMap
from segblocks.ops.rle import RLE, decode, encode
from segblocks.panoptic import Panoptic, Segment
from segblocks.tasks import HintTask, RefVOS, Task
from segblocks.text.vocabulary import Vocabulary

__all__ = [
    "FrameResult",
    "Panoptic",
    "ResultWriter",
    "Segment",
    "Track",
    "TrackSummary",
    "VideoSegmentation",
    "VideoSegmentationBuilder",
]


@dataclass(frozen=True, eq=False)
class TrackSummary:
    """Say what a track finally is, once the whole video has been seen.

    Args:
        id: of the track.
        label: index of its class in the vocabulary, None for tasks without classes.
        score: its confidence, 0 to 1.
        class_scores: (K,), the confidence of every class.
    """

    id: int
    label: int | None = None
    score: float | None = None
    class_scores: NDArray[np.floating] | None = None


@dataclass(frozen=True, eq=False)
class Track:
    """Follow one object through the video.

    Args:
        id: its number.
        label: class name (for RefVOS the expression), None where there is none.
        score: its confidence, None where there is none.
        rles: frame -> mask; the mask is empty in every other frame.
        size: (H, W) of the frames.
        num_frames: of the video.
        class_scores: (K,), the confidence of every class of the vocabulary, or None.
    """

    id: int
    label: str | None
    score: float | None
    rles: dict[int, RLE] = field(repr=False)
    size: tuple[int, int]
    num_frames: int
    class_scores: NDArray[np.floating] | None = field(default=None, repr=False)

    def __repr__(self) -> str:
        score = "" if self.score is None else f", score={self.score:.2f}"
        label = "" if self.label is None else f", {self.label!r}"
        return f"Track({self.id}{label}{score}, in {len(self.rles)} of {self.num_frames} frames)"

    @property
    def frames(self) -> tuple[int, ...]:
        """The frames that show a pixel of the object, ascending."""
        return tuple(sorted(self.rles))

    def mask(self, t: int) -> NDArray[np.bool_]:
        """Return the mask of frame ``t``, (H, W) boolean.

        Raises:
            IndexError: the video has no such frame.
        """
        _check_frame(t, self.num_frames)
        rle = self.rles.get(t)
        return np.zeros(self.size, dtype=np.bool_) if rle is None else decode(rle)

    def masks(self) -> NDArray[np.bool_]:
        """Return the masks of all frames, (T, H, W) boolean."""
        masks = np.zeros((self.num_frames, *self.size), dtype=np.bool_)
        for t, rle in self.rles.items():
            masks[t] = decode(rle)
        return masks


class ResultWriter(Protocol):
    """Write a result to a folder: ``writer(result, path, overlay=..., **options)``."""

    def __call__(self, result: VideoSegmentation, path: Path, /, *args: Any, **options: Any) -> Any:
        """Write everything that ``result`` holds under ``path``."""
        ...


@dataclass(frozen=True, eq=False)
class VideoSegmentation:
    """Hold what one task found in a whole video, masks as run lengths and maps compressed.

    Results of :func:`segblocks.segment` can be pickled; the copy's source has no frames, but opens
    the same file or folder again.

    Args:
        tracks: the objects; in hint order for tasks with hints, by descending score otherwise.
        num_frames: of the video.
        size: (H, W) of the frames.
        task: the task that was asked for.
        vocabulary: the classes, None for tasks without.
        semantic_maps: frame -> class indices, empty for tasks without.
        source: the video, for writers that draw on it.
        writer: what ``save`` calls.
    """

    tracks: tuple[Track, ...]
    num_frames: int
    size: tuple[int, int]
    task: Task
    vocabulary: Vocabulary | None = None
    semantic_maps: dict[int, PackedMap] = field(default_factory=dict[int, PackedMap])
    source: Any = None
    writer: ResultWriter | None = None

    def __repr__(self) -> str:
        height, width = self.size
        counts = Counter(track.label for track in self.tracks if track.label is not None)
        named = ", ".join(f"{num} {label}" for label, num in counts.most_common(4))
        more = ", ..." if len(counts) > 4 else ""
        tracks = f"{len(self.tracks)} tracks" + (f": {named}{more}" if named else "")
        maps = "semantic maps; " if self.semantic_maps else ""
        return (
            f"VideoSegmentation({self.task_name}: {self.num_frames} frames of {height}x{width}; "
            f"{maps}{tracks})"
        )

    @property
    def task_name(self) -> str:
        """The short name of the task, such as ``"vis"``."""
        return self.task.name

    @property
    def has_semantic(self) -> bool:
        """Whether the task gave a semantic map of every frame."""
        return bool(self.semantic_maps)

    def track(self, id: int) -> Track:
        """Return the track of this id.

        Raises:
            KeyError: there is none.
        """
        for track in self.tracks:
            if track.id == id:
                return track
        raise KeyError(f"there is no track {id}; there are {[t.id for t in self.tracks]}")

    def semantic(self, t: int) -> NDArray[np.int32]:
        """Return the class index of each pixel of frame ``t``, (H, W).

        Raises:
            IndexError: the video has no such frame.
            ValueError: the task gives no semantic map.
        """
        _check_frame(t, self.num_frames)
        if t not in self.semantic_maps:
            raise ValueError(
                f"semantic: frame {t} has no semantic map; only VPS and VSS give one, "
                f"this is {self.task_name}"
            )
        return self.semantic_maps[t].unpack()

    def frame(self, t: int) -> FrameResult:
        """Return frame ``t`` with the tracks that it shows, and their final labels and scores.

        Raises:
            IndexError: the video has no such frame.
        """
        _check_frame(t, self.num_frames)
        shown = [track for track in self.tracks if t in track.rles]
        masks = np.zeros((len(shown), *self.size), dtype=np.bool_)
        for mask, track in zip(masks, shown, strict=True):
            mask[:] = decode(track.rles[t])
        return FrameResult(
            t,
            tuple(track.id for track in shown),
            masks,
            tuple(track.label for track in shown),
            tuple(track.score for track in shown),
            self.semantic(t) if t in self.semantic_maps else None,
            self.vocabulary,
        )

    def panoptic(self, t: int) -> Panoptic:
        """Return the panoptic map of frame ``t``; see :attr:`FrameResult.panoptic`.

        Raises:
            IndexError: the video has no such frame.
            ValueError: the task gives no semantic map.
        """
        return self.frame(t).panoptic

    def filter(
        self, *, min_score: float | None = None, labels: Collection[str] | None = None
    ) -> VideoSegmentation:
        """Keep only some tracks; semantic maps stay as they are.

        Args:
            min_score: keep tracks of at least this score, and those that have none.
            labels: keep tracks of these classes.

        Raises:
            ValueError: a label that the vocabulary lacks; close matches are listed.
            TypeError: ``labels`` is one string.
        """
        if isinstance(labels, str):
            raise TypeError(f"filter: labels must be a list of class names, got {labels!r}")
        if labels is not None and self.vocabulary is not None:
            for label in labels:
                self.vocabulary.index(label)
        kept = (
            track
            for track in self.tracks
            if (min_score is None or track.score is None or track.score >= min_score)
            and (labels is None or track.label in labels)
        )
        return replace(self, tracks=tuple(kept))

    def save(self, path: str | os.PathLike[str], overlay: bool = False, **submission: Any) -> Any:
        """Write the masks, and the official submission format of the task, to a folder.

        Args:
            path: the folder, empty or new; ``~`` is the home folder.
            overlay: write a video with the masks drawn over it, too.
            submission: others that the writer takes. That of :func:`segblocks.segment`,
                :func:`segblocks.inference.save_result`, takes ``report=True`` for a page that
                shows the result in a browser, ``overwrite=True`` to replace an earlier result, and
                ``video_id``, ``dataset``, ``split`` and ``frame_names``.

        Returns:
            What the writer returns.

        Raises:
            ValueError: this result was made without a writer.
        """
        if self.writer is None:
            raise ValueError("save: this result has no writer; those of segblocks.segment have one")
        return self.writer(self, expand(path), overlay=overlay, **submission)


class VideoSegmentationBuilder:
    """Collect the frames of a video into one :class:`VideoSegmentation`.

    Args:
        size: (H, W) of the frames.
        task: that was asked for.
        vocabulary: its classes, None for tasks without.
        writer: what ``save`` of the result calls.
        source: the video, handed on to the writer.
    """

    def __init__(
        self,
        size: tuple[int, int],
        task: Task,
        vocabulary: Vocabulary | None = None,
        writer: ResultWriter | None = None,
        source: Any = None,
    ) -> None:
        self.size = size
        self.task = task
        self.vocabulary = vocabulary
        self.writer = writer
        self.source = source
        self._rles: dict[int, dict[int, RLE]] = {}
        self._semantic: dict[int, PackedMap] = {}
        self._last = -1

    def add(self, frame: FrameResult) -> None:
        """Take in the next frame; nothing of it is kept but what has been compressed.

        Raises:
            ValueError: a frame of another size, or one that does not come after the last.
        """
        if frame.masks.shape[1:] != self.size:
            raise ValueError(
                f"VideoSegmentationBuilder: frame {frame.index} must have size {self.size}, "
                f"got {frame.masks.shape[1:]}"
            )
        if frame.index <= self._last:
            raise ValueError(
                f"VideoSegmentationBuilder: frames must come in order, "
                f"got {frame.index} after {self._last}"
            )
        self._last = frame.index
        for object_id, mask in zip(frame.ids, frame.masks, strict=True):
            rles = self._rles.setdefault(object_id, {})
            if mask.any():
                rles[frame.index] = encode(mask)
        if frame.semantic is not None:
            self._semantic[frame.index] = PackedMap.pack(frame.semantic)

    def finish(self, num_frames: int, summaries: Iterable[TrackSummary] = ()) -> VideoSegmentation:
        """Return the result.

        Tasks with hints or expressions get a track for each of their objects, seen or not, in
        their order. Other tasks get the tracks that ``summaries`` names, by descending score; what
        it does not name is dropped.

        Args:
            num_frames: of the video.
            summaries: the final label and score of each track.

        Raises:
            ValueError: fewer frames than were added.
        """
        if num_frames <= self._last:
            raise ValueError(
                f"VideoSegmentationBuilder: num_frames must be above {self._last}, got {num_frames}"
            )
        known = {summary.id: summary for summary in summaries}
        if isinstance(self.task, HintTask | RefVOS):
            ordered = [known.get(i, TrackSummary(i)) for i in self.task.object_ids]
        else:
            ordered = sorted(known.values(), key=lambda s: _descending(s.score))
        return VideoSegmentation(
            tuple(self._track(summary, num_frames) for summary in ordered),
            num_frames,
            self.size,
            self.task,
            self.vocabulary,
            self._semantic,
            self.source,
            self.writer,
        )

    def _track(self, summary: TrackSummary, num_frames: int) -> Track:
        label = None
        if summary.label is not None and self.vocabulary is not None:
            label = self.vocabulary.classes[summary.label]
        elif isinstance(self.task, RefVOS):
            label = self.task.expressions[summary.id - 1]
        return Track(
            summary.id,
            label,
            summary.score,
            self._rles.get(summary.id, {}),
            self.size,
            num_frames,
            summary.class_scores,
        )


def _descending(score: float | None) -> float:
    return float("inf") if score is None else -score


def _check_frame(t: int, num_frames: int) -> None:
    if not 0 <= t < num_frames:
        raise IndexError(f"frame must be 0 to {num_frames - 1}, got {t}")
