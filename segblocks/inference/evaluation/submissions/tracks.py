"""Submissions that are one JSON file of masks."""

from __future__ import annotations

from abc import abstractmethod
from collections import defaultdict
from pathlib import Path
from typing import Any, ClassVar

from segblocks.data.dataset import VideoDataset
from segblocks.data.files import FrameFiles, get_field, read_json
from segblocks.data.indexed import to_int, typed_field
from segblocks.data.panoptic_png import category_indices
from segblocks.data.rle_sequence import pack_counts
from segblocks.data.sample import VideoSample
from segblocks.inference.evaluation.sample_task import hints_of
from segblocks.inference.evaluation.submissions.base import (
    Submission,
    Videos,
    flatten,
    nothing_there,
    stream_json,
)
from segblocks.inference.evaluation.submissions.label_maps import check_known
from segblocks.inference.formats import burst_sequence, youtube_vis_records
from segblocks.ops.rle import RLE, area, from_coco
from segblocks.results import Track, VideoSegmentation
from segblocks.tasks import VIS, HintTask

_TOP_K = {"ovis": 20, "uvo": 100}


class _OneFile(Submission):
    """A file of a known name in a folder, or the file itself."""

    #: What the file may be called.
    names: ClassVar[tuple[str, ...]]

    def __init__(self, place: Path, dataset: VideoDataset) -> None:
        found = [place / name for name in self.names if (place / name).is_file()]
        if not place.is_file() and not found:
            raise nothing_there(place, dataset, self.layout)
        self.path = place if place.is_file() else found[0]
        self._read_all(read_json(self.path, object_hook=pack_counts))

    @abstractmethod
    def _read_all(self, content: Any) -> None:
        """Sort the records by video."""

    def files(self, sample: VideoSample) -> list[Path]:
        return [self.path]


class YouTubeVISResults(_OneFile):
    """Tracks with classes and scores, as YouTube-VIS, OVIS and UVO take them."""

    layout = "results.json, a list of tracks with video_id, category_id, score and segmentations"
    names = ("results.json",)

    def _read_all(self, content: Any) -> None:
        if not isinstance(content, list):
            raise ValueError(
                f"{self.path}: expected a list of tracks, got {type(content).__name__}"
            )
        self._records: dict[int, list[tuple[int, Any]]] = defaultdict(list)
        for i, record in enumerate(content):
            number = typed_field(record, "video_id", int, f"{self.path}: [{i}]")
            self._records[number].append((i, record))

    def read(self, sample: VideoSample) -> VideoSegmentation:
        vocabulary = sample.vocabulary
        if vocabulary is None:
            raise ValueError(f"video {sample.name!r} has no classes")
        indices = category_indices(vocabulary)
        tracks = []
        for i, record in self._records.get(video_number(sample), ()):
            where = f"{self.path}: [{i}]"
            category = typed_field(record, "category_id", int, where)
            if category not in indices:
                raise ValueError(f"{where}: category_id {category} is none of {vocabulary.name}")
            segments = typed_field(record, "segmentations", list, where)
            if len(segments) != sample.num_frames:
                raise ValueError(
                    f"{where}: the field 'segmentations' must hold one mask or null for each of "
                    f"the {sample.num_frames} frames of {sample.name!r}, got {len(segments)}"
                )
            masks = {t: _mask(s, sample, where) for t, s in enumerate(segments) if s is not None}
            score = get_field(record, "score", where)
            if not isinstance(score, int | float):
                raise ValueError(f"{where}: the field 'score' must be a number, got {score!r}")
            name = vocabulary.classes[indices[category]]
            shown = {t: rle for t, rle in masks.items() if area(rle)}
            shape = (sample.size, sample.num_frames)
            tracks.append(Track(len(tracks) + 1, name, float(score), shown, *shape))
        return VideoSegmentation(
            tuple(tracks), sample.num_frames, sample.size, VIS(vocabulary), vocabulary
        )

    @classmethod
    def write(cls, folder: Path, dataset: VideoDataset, videos: Videos) -> None:
        top_k = _TOP_K.get(dataset.name, 10)
        groups = (
            youtube_vis_records(result, video_number(sample), top_k=top_k)
            for sample, result in videos
        )
        stream_json(folder / "results.json", "[", flatten(groups), "]")


class BURSTResults(_OneFile):
    """Tracks of given objects, as BURST takes them."""

    layout = "burst.json with sequences of segmentations"
    names = ("burst.json", "results.json", "all_classes.json")

    def _read_all(self, content: Any) -> None:
        self._sequences: dict[str, tuple[str, Any]] = {}
        for i, record in enumerate(typed_field(content, "sequences", list, str(self.path))):
            where = f"{self.path}: sequences[{i}]"
            part = typed_field(record, "dataset", str, where)
            name = typed_field(record, "seq_name", str, where)
            self._sequences[f"{part}/{name}"] = (where, record)

    def read(self, sample: VideoSample) -> VideoSegmentation:
        task = hints_of(sample)
        if sample.name not in self._sequences:
            raise FileNotFoundError(
                f"{self.path}: there is no prediction for the video {sample.name!r}"
            )
        if not isinstance(task, HintTask):
            raise ValueError(f"video {sample.name!r} has no objects to follow")
        where, record = self._sequences[sample.name]
        numbers = {name: t for t, name in enumerate(sample.file_names)}
        files = typed_field(record, "annotated_image_paths", list, where)
        frames = typed_field(record, "segmentations", list, where)
        if len(files) != len(frames):
            raise ValueError(f"{where}: {len(frames)} segmentations for {len(files)} frames")
        rles: dict[int, dict[int, RLE]] = defaultdict(dict)
        for file, tracks in zip(files, frames, strict=True):
            if Path(file).stem not in numbers:
                raise ValueError(f"{where}: {file} is no frame of {sample.name!r}")
            t = numbers[Path(file).stem]
            for key, track in tracks.items():
                number = to_int(key, f"{where}: {file}")
                counts = typed_field(track, "rle", str, f"{where}: {file}: track {key}")
                rle = _mask({"size": sample.size, "counts": counts}, sample, f"{where}: {file}")
                if area(rle):
                    rles[number][t] = rle
        check_known(tuple(rles), task, where)
        shape = (sample.size, sample.num_frames)
        tracks = (Track(i, None, None, rles.get(i, {}), *shape) for i in task.object_ids)
        return VideoSegmentation(tuple(tracks), sample.num_frames, sample.size, task)

    @classmethod
    def write(cls, folder: Path, dataset: VideoDataset, videos: Videos) -> None:
        records = (_burst_record(i, *video) for i, video in enumerate(videos))
        # Where the file names a split, the official tool wants that of the annotations.
        stream_json(folder / "burst.json", '{"sequences": [', records, "]}")


def video_number(sample: VideoSample) -> int:
    """Return the number by which submissions call a video.

    Raises:
        ValueError: the dataset gives none.
    """
    number = sample.attributes.get("video_id")
    if not isinstance(number, int):
        raise ValueError(f"video {sample.name!r}: the dataset gives it no number (video_id)")
    return number


def _mask(segment: Any, sample: VideoSample, where: str) -> RLE:
    try:
        rle = from_coco(segment)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{where}: not a run-length encoded mask ({error})") from error
    if rle.size != sample.size:
        raise ValueError(
            f"{where}: expected masks of {sample.size[0]}x{sample.size[1]} (height x width) like "
            f"the frames of {sample.name!r}, got {rle.size[0]}x{rle.size[1]}"
        )
    return rle


def _burst_record(place: int, sample: VideoSample, result: VideoSegmentation) -> dict[str, Any]:
    part, _, name = sample.name.rpartition("/")
    # The official tool finds videos by these numbers, and frames by these names.
    number = sample.attributes.get("sequence_id")
    files = [f"{frame}.jpg" for frame in sample.file_names]
    if isinstance(sample.read_frame, FrameFiles):
        files = [path.name for path in sample.read_frame.paths]
    record = burst_sequence(
        result,
        name,
        fps=sample.fps,
        dataset=part,
        number=number if isinstance(number, int) else place,
        image_names=files,
    )
    frames = sample.annotated or tuple(range(sample.num_frames))
    classes = {
        str(info.id): sample.vocabulary.category_id(info.label)
        for info in sample.objects
        if sample.vocabulary is not None and info.label is not None
    }
    return record | {
        "annotated_image_paths": [files[t] for t in frames],
        "segmentations": [record["segmentations"][t] for t in frames],
        "track_category_ids": classes or record["track_category_ids"],
    }
