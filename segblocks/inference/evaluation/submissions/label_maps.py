"""Submissions of one picture a frame, whose values are object ids or classes."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from segblocks.data.dataset import VideoDataset
from segblocks.data.files import read_ids
from segblocks.data.sample import VideoSample
from segblocks.data.semantic_png import VOID, labels_from_categories
from segblocks.inference.evaluation.sample_task import hints_of, task_of
from segblocks.inference.evaluation.submissions.base import (
    Submission,
    Videos,
    find_root,
    is_judged,
    video_files,
)
from segblocks.inference.formats import kitti_step_picture
from segblocks.label_files import write_label_map
from segblocks.metrics.classes import class_indices, predicted_classes
from segblocks.ops.label_map import masks_from_label_map
from segblocks.results import (
    FrameResult,
    TrackSummary,
    VideoSegmentation,
    VideoSegmentationBuilder,
)
from segblocks.tasks import VPS, VSS, HintTask, RefVOS
from segblocks.text.vocabulary import Vocabulary
from segblocks.viz import track_label_map

_SHIFT = 16


class _FramePictures(Submission):
    """One folder for each video, in it one PNG for each frame."""

    #: Where the folders of the videos are, the first when writing.
    folders: ClassVar[tuple[str, ...]] = ("",)

    def __init__(self, place: Path, dataset: VideoDataset) -> None:
        self.root = find_root(place, dataset, self.folders, self.layout)

    def files(self, sample: VideoSample) -> list[Path]:
        return video_files(self.root / sample.name)

    @classmethod
    def _make_folder(cls, folder: Path, sample: VideoSample) -> Path:
        made = folder / cls.folders[0] / sample.name
        made.mkdir(parents=True)
        return made


class ObjectIds(_FramePictures):
    """Palette PNGs of the object ids, as DAVIS 2017 and MOSE take them."""

    layout = "<video>/<frame>.png with the object ids"
    merge: ClassVar[bool] = False

    def read(self, sample: VideoSample) -> VideoSegmentation:
        task = hints_of(sample)
        if not isinstance(task, HintTask):
            raise ValueError(f"video {sample.name!r} has no objects to follow")
        builder = VideoSegmentationBuilder(sample.size, task)
        folder = self.root / sample.name
        for t, name in enumerate(sample.file_names):
            path = folder / f"{name}.png"
            if path.exists() or is_judged(sample, t):
                labels = read_ids(path, sample.size, channels=1)
                masks, ids = masks_from_label_map(
                    (labels > 0).astype(np.int64) if self.merge else labels
                )
                check_known(ids, task, str(path))
                builder.add(_frame(t, ids, masks))
        return builder.finish(sample.num_frames)

    @classmethod
    def write(cls, folder: Path, dataset: VideoDataset, videos: Videos) -> None:
        for sample, result in videos:
            made = cls._make_folder(folder, sample)
            highest = max((track.id for track in result.tracks), default=0)
            for t, name in enumerate(sample.file_names):
                write_label_map(made / f"{name}.png", track_label_map(result, t), max_id=highest)


class OneObject(ObjectIds):
    """Pictures in which every value but 0 is the object, as DAVIS 2016 takes them."""

    layout = "<video>/<frame>.png, 0 where the object is not"
    merge = True


class AnnotationFolders(ObjectIds):
    """Palette PNGs of the object ids below ``Annotations``, as YouTube-VOS takes them."""

    layout = "Annotations/<video>/<frame>.png with the object ids"
    folders = ("Annotations", "")


class Sentences(_FramePictures):
    """One PNG for each sentence and frame, as Ref-YouTube-VOS takes them."""

    layout = "Annotations/<video>/<sentence>/<frame>.png, 0 where the object is not"
    folders = ("Annotations", "")

    def read(self, sample: VideoSample) -> VideoSegmentation:
        task = task_of(sample, "refvos")
        if not isinstance(task, RefVOS):
            raise ValueError(f"video {sample.name!r} has no sentences")
        builder = VideoSegmentationBuilder(sample.size, task)
        folder = self.root / sample.name
        for t, name in enumerate(sample.file_names):
            paths = [folder / sentence.id / f"{name}.png" for sentence in sample.expressions]
            if all(path.exists() for path in paths) or is_judged(sample, t):
                masks = np.stack([read_ids(p, sample.size, channels=1) > 0 for p in paths])
                builder.add(_frame(t, task.object_ids, masks))
        return builder.finish(sample.num_frames)

    @classmethod
    def write(cls, folder: Path, dataset: VideoDataset, videos: Videos) -> None:
        for sample, result in videos:
            made = cls._make_folder(folder, sample)
            for sentence, track in zip(sample.expressions, result.tracks, strict=True):
                (made / sentence.id).mkdir()
                for t, name in enumerate(sample.file_names):
                    mask = track.mask(t).astype(np.uint8) * 255
                    Image.fromarray(mask).save(made / sentence.id / f"{name}.png")


class _ClassPictures(_FramePictures):
    """Pictures that say of every pixel what it is."""

    def _results(self, sample: VideoSample) -> tuple[Vocabulary, list[tuple[int, Path]]]:
        if sample.vocabulary is None:
            raise ValueError(f"video {sample.name!r} has no classes")
        folder = self.root / sample.name
        paths = [(t, folder / f"{name}.png") for t, name in enumerate(sample.file_names)]
        return sample.vocabulary, paths

    @classmethod
    def write(cls, folder: Path, dataset: VideoDataset, videos: Videos) -> None:
        for sample, result in videos:
            made = cls._make_folder(folder, sample)
            for t, name in enumerate(sample.file_names):
                Image.fromarray(cls._paint(sample, result, t)).save(made / f"{name}.png")

    @staticmethod
    @abstractmethod
    def _paint(sample: VideoSample, result: VideoSegmentation, t: int) -> NDArray[np.uint8]: ...


class ClassIndices(_ClassPictures):
    """Pictures of class indices from 0, as VSPW takes them: one less than in its annotations."""

    layout = "<video>/<frame>.png with class indices from 0"

    def read(self, sample: VideoSample) -> VideoSegmentation:
        vocabulary, paths = self._results(sample)
        indices = Vocabulary(vocabulary.name, vocabulary.classes, None, range(len(vocabulary)))
        builder = VideoSegmentationBuilder(sample.size, VSS(vocabulary), vocabulary)
        for t, path in paths:
            semantic = np.full(sample.size, -1, np.int32)
            if path.exists() or is_judged(sample, t):
                values = read_ids(path, sample.size, channels=1)
                semantic[:] = labels_from_categories(values, indices, str(path), void=(VOID,))
            nothing = np.zeros((0, *sample.size), np.bool_)
            builder.add(FrameResult(t, (), nothing, (), (), semantic, vocabulary))
        return builder.finish(sample.num_frames)

    @staticmethod
    def _paint(sample: VideoSample, result: VideoSegmentation, t: int) -> NDArray[np.uint8]:
        # The last entry is what -1, no class, finds.
        table = np.append(class_indices(sample, result), VOID).astype(np.uint8)
        return table[np.maximum(predicted_classes(result, t), -1)]


class StepMaps(_ClassPictures):
    """RGB pictures of class and track, as KITTI-STEP takes them."""

    layout = "<video>/<frame>.png with R the class, 256 G + B the track"

    def read(self, sample: VideoSample) -> VideoSegmentation:
        vocabulary, paths = self._results(sample)
        builder = VideoSegmentationBuilder(sample.size, VPS(vocabulary), vocabulary)
        tracks: dict[tuple[int, int], int] = {}
        for t, path in paths:
            labels = np.full(sample.size, -1, np.int32)
            numbers = np.zeros(sample.size, np.int64)
            if path.exists() or is_judged(sample, t):
                pixels = read_ids(path, sample.size, channels=3)
                labels[:] = labels_from_categories(
                    pixels[..., 0], vocabulary, str(path), void=(VOID,)
                )
                numbers[:] = pixels[..., 1].astype(np.int64) * 256 + pixels[..., 2]
            things = np.isin(labels, vocabulary.thing_ids) & (numbers > 0)
            keys = np.where(things, (labels.astype(np.int64) << _SHIFT) + numbers, 0)
            masks, found = masks_from_label_map(keys)
            ids = [_track_id(tracks, divmod(key, 1 << _SHIFT)) for key in found]
            builder.add(_frame(t, tuple(ids), masks, labels, vocabulary))
        summaries = [TrackSummary(number, label) for (label, _), number in tracks.items()]
        return builder.finish(sample.num_frames, summaries)

    @staticmethod
    def _paint(sample: VideoSample, result: VideoSegmentation, t: int) -> NDArray[np.uint8]:
        assert result.vocabulary is not None
        return kitti_step_picture(result.panoptic(t), result.vocabulary)


def check_known(ids: tuple[int, ...], task: HintTask, where: str) -> None:
    """Raise ValueError where an id is of no object that the task gave."""
    if stray := sorted(set(ids) - set(task.object_ids)):
        raise ValueError(
            f"{where}: holds the object ids {stray}, but the objects to follow are "
            f"{sorted(task.object_ids)}"
        )


def _track_id(tracks: dict[tuple[int, int], int], key: tuple[int, int]) -> int:
    """The id of a class and number: the number, unless another class has it."""
    if key not in tracks:
        label, number = key
        taken = number in tracks.values()
        tracks[key] = (label << _SHIFT) + number if taken else number
    return tracks[key]


def _frame(
    t: int,
    ids: tuple[int, ...],
    masks: NDArray[np.bool_],
    semantic: NDArray[np.int32] | None = None,
    vocabulary: Vocabulary | None = None,
) -> FrameResult:
    nothing = (None,) * len(ids)
    return FrameResult(t, ids, masks, nothing, nothing, semantic, vocabulary)
