"""BURST: sparsely annotated videos with a point for each object (Athar et al. 2023)."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from segblocks.data.files import FrameFiles, first_existing, read_json, write_json
from segblocks.data.indexed import (
    IndexedVideos,
    list_field,
    size_fields,
    split_places,
    to_int,
    typed_field,
)
from segblocks.data.label_sequence import write_frames
from segblocks.data.panoptic_png import OneVocabulary, category_indices, read_categories
from segblocks.data.rle_sequence import RLEMasks
from segblocks.data.sample import ObjectInfo, VideoSample
from segblocks.ops.rle import encode, to_coco
from segblocks.text import burst_classes
from segblocks.text.vocabulary import Vocabulary

_ANNOTATIONS = (
    "annotations/{split}/all_classes.json",
    "{split}/all_classes.json",
    "annotations/{split}/{split}.json",
    "{split}/{split}.json",
)
_FIRST_FRAMES = "first_frame_annotations.json"
_FRAMES = ("frames/{split}", "images/{split}", "{split}")


@dataclass
class _Sequence:
    name: str
    size: tuple[int, int]
    frames: tuple[str, ...]
    segments: dict[int, dict[int, dict[str, Any]]]
    objects: tuple[ObjectInfo, ...]
    points: dict[int, dict[int, tuple[float, float]]]
    hint_frames: dict[int, int]
    attributes: dict[str, object]
    fps: float | None


class BURSTDataset(IndexedVideos):
    """Read BURST.

    Videos are called ``<part>/<sequence>``, the part being the dataset that they come from. An
    object's hint frame is the first that is annotated for it; where the split has
    ``first_frame_annotations.json``, a point prompt is given there. Its attributes are
    "class_split" ("common" or "uncommon") and "exhaustive" (False where the video may hold more
    objects of its class). A video's attributes are "sequence_id", "dataset", and the category ids
    of "negative" classes, surely absent, and of "not_exhaustive" ones.

    Args:
        root: the folder that holds the annotations (``<split>/all_classes.json``, or the same in
            ``annotations``) and the pictures (``frames/<split>``, ``images/<split>`` or
            ``<split>``, in it ``<part>/<sequence>``).
        split: "train", "val" or "test".
        frames: "all" frames of a video, or only those that are "annotated", one a second in the
            validation and test sets.
        name: of the dataset.

    Raises:
        FileNotFoundError: there is no such file or folder.
        ValueError: a file is broken, lacks a field, or names an unknown category or track.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        *,
        split: str = "val",
        frames: Literal["all", "annotated"] = "all",
        name: str = "burst",
    ) -> None:
        if frames not in ("all", "annotated"):
            raise ValueError(f'BURSTDataset: frames must be "all" or "annotated", got {frames!r}')
        root = Path(root)
        self.annotation_file = first_existing(root, split_places(_ANNOTATIONS, split))
        self.frames_folder = first_existing(root, split_places(_FRAMES, split))
        content = read_json(self.annotation_file)
        vocabulary = read_categories(content, None, str(self.annotation_file), name=name)
        starts_file = self.annotation_file.with_name(_FIRST_FRAMES)
        starts = _read_starts(starts_file) if starts_file.exists() else {}
        labels = category_indices(vocabulary)
        self._sequences: list[_Sequence] = []
        for i, record in enumerate(
            typed_field(content, "sequences", list, str(self.annotation_file))
        ):
            where = f"{self.annotation_file}: sequences[{i}]"
            self._sequences.append(_read_sequence(record, labels, starts, frames, where))
        names = tuple(sequence.name for sequence in self._sequences)
        if unknown := sorted(set(starts) - set(names)):
            raise ValueError(
                f"{starts_file}: has points of sequences that {self.annotation_file.name} does not "
                f"list: {', '.join(unknown[:3])}"
            )
        super().__init__(name, "pet", names, vocabulary)

    def _read(self, index: int) -> VideoSample:
        sequence = self._sequences[index]
        folder = self.frames_folder / sequence.name
        return VideoSample(
            sequence.name,
            len(sequence.frames),
            sequence.size,
            FrameFiles(tuple(folder / file for file in sequence.frames), sequence.size),
            RLEMasks(
                sequence.segments, sequence.size, f"{self.annotation_file}: {sequence.name!r}"
            ),
            tuple(sequence.segments),
            sequence.objects,
            self.vocabulary,
            points=sequence.points,
            hint_frames=sequence.hint_frames,
            frame_names=tuple(Path(file).stem for file in sequence.frames),
            fps=sequence.fps,
            attributes=sequence.attributes,
        )


def _read_starts(path: Path) -> dict[str, dict[str, dict[int, tuple[float, float]]]]:
    """Return the points: sequence -> file name of the frame -> track -> (x, y)."""
    starts: dict[str, dict[str, dict[int, tuple[float, float]]]] = {}
    for i, record in enumerate(typed_field(read_json(path), "sequences", list, str(path))):
        where = f"{path}: sequences[{i}]"
        files = list_field(record, "annotated_image_paths", str, where)
        segments = list_field(record, "segmentations", dict, where)
        if len(files) != len(segments):
            raise ValueError(f"{where}: {len(segments)} segmentations for {len(files)} frames")
        points: dict[str, dict[int, tuple[float, float]]] = {}
        for file, tracks in zip(files, segments, strict=True):
            for key, track in tracks.items():
                place = f"{where}: track {key} in {file}"
                point = typed_field(track, "point", list, place)
                points.setdefault(file, {})[to_int(key, where)] = _read_point(point, place)
        starts[_sequence_name(record, where)] = points
    return starts


def _read_point(point: list[Any], where: str) -> tuple[float, float]:
    if len(point) != 2 or not all(type(x) in (int, float) and math.isfinite(x) for x in point):
        raise ValueError(f"{where}: the field 'point' must hold x and y, got {point}")
    return float(point[0]), float(point[1])


def _sequence_name(record: Any, where: str) -> str:
    part = typed_field(record, "dataset", str, where)
    name = typed_field(record, "seq_name", str, where)
    return f"{part}/{name}"


def _read_sequence(
    record: Any,
    labels: Mapping[int, int],
    starts: Mapping[str, Mapping[str, Mapping[int, tuple[float, float]]]],
    which: str,
    where: str,
) -> _Sequence:
    name = _sequence_name(record, where)
    annotated = list_field(record, "annotated_image_paths", str, where)
    every = list_field(record, "all_image_paths", str, where) if which == "all" else annotated
    numbers = {file: t for t, file in enumerate(every)}
    if missing := [file for file in annotated if file not in numbers]:
        raise ValueError(f"{where}: the annotated frames {missing[:3]} are not in all_image_paths")
    masks = typed_field(record, "segmentations", list, where)
    if len(masks) != len(annotated):
        raise ValueError(f"{where}: {len(masks)} segmentations for {len(annotated)} frames")
    size = size_fields(record, where)
    objects = _read_objects(record, labels, where)
    segments: dict[int, dict[int, dict[str, Any]]] = {}
    hint_frames: dict[int, int] = {}
    for file, tracks in sorted(zip(annotated, masks, strict=True), key=lambda x: numbers[x[0]]):
        t = numbers[file]
        segments[t] = _read_masks(tracks, objects, size, f"{where}: segmentations of {file}")
        for number in segments[t]:
            hint_frames.setdefault(number, t)
    points: dict[int, dict[int, tuple[float, float]]] = {}
    for file, prompts in starts.get(name, {}).items():
        if file not in numbers:
            raise ValueError(f"{where}: {_FIRST_FRAMES} has a point in {file}, which is no frame")
        _check_points(prompts, objects, size, f"{where}: {_FIRST_FRAMES}: {file}")
        points[numbers[file]] = dict(prompts)
        hint_frames.update(dict.fromkeys(prompts, numbers[file]))
    attributes: dict[str, object] = {
        "sequence_id": record.get("id"),
        "dataset": record["dataset"],
        "negative": tuple(list_field(record, "neg_category_ids", int, where, optional=True)),
        "not_exhaustive": tuple(
            list_field(record, "not_exhaustive_category_ids", int, where, optional=True)
        ),
    }
    infos = tuple(objects[number] for number in sorted(objects))
    hints = dict(sorted(hint_frames.items()))
    fps = record.get("fps")
    if fps is not None and not (type(fps) in (int, float) and 0 < fps < math.inf):
        raise ValueError(f"{where}: the field 'fps' must be a positive number, got {fps!r:.80}")
    return _Sequence(name, size, tuple(every), segments, infos, points, hints, attributes, fps)


def _check_points(
    prompts: Mapping[int, tuple[float, float]],
    objects: Mapping[int, ObjectInfo],
    size: tuple[int, int],
    where: str,
) -> None:
    for number, (x, y) in prompts.items():
        if number not in objects:
            raise ValueError(
                f"{where}: has a point of track {number}, which has no category in "
                "track_category_ids"
            )
        if not (0 <= x < size[1] and 0 <= y < size[0]):
            raise ValueError(
                f"{where}: the point {x}, {y} of track {number} lies outside of the frame of "
                f"{size[0]}x{size[1]} (height x width)"
            )


def _read_objects(record: Any, labels: Mapping[int, int], where: str) -> dict[int, ObjectInfo]:
    open_ended = set(list_field(record, "not_exhaustive_category_ids", int, where, optional=True))
    objects = {}
    for key, value in typed_field(record, "track_category_ids", dict, where).items():
        category = to_int(value, f"{where}: track_category_ids of {key}")
        if category not in labels:
            raise ValueError(
                f"{where}: track_category_ids gives track {key} the category {category}, "
                "which is not listed in categories"
            )
        number = to_int(key, f"{where}: track_category_ids")
        attributes: dict[str, object] = {
            "class_split": "common" if category in burst_classes.COMMON else "uncommon",
            "exhaustive": category not in open_ended,
        }
        objects[number] = ObjectInfo(number, labels[category], attributes=attributes)
    return objects


def _read_masks(
    tracks: Any, objects: Mapping[int, ObjectInfo], size: tuple[int, int], where: str
) -> dict[int, dict[str, Any]]:
    if not isinstance(tracks, dict):
        raise ValueError(f"{where}: expected track ids with masks, got {type(tracks).__name__}")
    masks = {}
    for key, track in tracks.items():
        number = to_int(key, where)
        if number not in objects:
            raise ValueError(f"{where}: track {number} has no category in track_category_ids")
        counts = typed_field(track, "rle", str, f"{where}: track {number}")
        masks[number] = {"size": list(size), "counts": counts}
    return masks


def write_burst(
    samples: Iterable[VideoSample],
    root: str | os.PathLike[str],
    split: str = "val",
    *,
    suffix: str = ".jpg",
) -> None:
    """Write videos in the layout of BURST, with points where the videos have them.

    A name without a slash goes into the part ``made``. The layout knows no ignored pixels; where a
    video has some, that is lost.

    Args:
        samples: the videos, one in memory at a time; of one vocabulary.
        root: folder of the dataset; ``annotations`` and ``frames`` in it are made.
        split: "train", "val" or "test".
        suffix: ".jpg", or ".png", which keeps the pixels.

    Raises:
        ValueError: no samples, no vocabulary or several, or an object without a class.
    """
    root = Path(root)
    full: list[dict[str, Any]] = []
    starts: list[dict[str, Any]] = []
    shared = OneVocabulary("write_burst")
    for number, sample in enumerate(samples):
        vocabulary = shared.take(sample)
        if any(info.label is None for info in sample.objects):
            raise ValueError(f"write_burst: {sample.name}: every object needs a class")
        part, _, name = sample.name.rpartition("/")
        record = _sequence_record(sample, number, part or "made", name, vocabulary)
        folder = root / "frames" / split / record["dataset"] / name
        files = [f"{frame}{suffix}" for frame in write_frames(folder, sample, suffix)]
        full.append(record | _masks_record(sample, files, sample.annotated, starts_only=False))
        record |= _masks_record(sample, files, tuple(sorted(sample.points)), starts_only=True)
        starts.append(record)
    folder = root / "annotations" / split
    file = "train.json" if split == "train" else "all_classes.json"
    common = {"categories": shared.categories(), "split": split}
    if any(record["annotated_image_paths"] for record in starts):
        write_json(folder / _FIRST_FRAMES, {"sequences": starts} | common)
    write_json(folder / file, {"sequences": full} | common)


def _sequence_record(
    sample: VideoSample, number: int, part: str, name: str, vocabulary: Vocabulary
) -> dict[str, Any]:
    height, width = sample.size
    return {
        "id": number,
        "dataset": part,
        "seq_name": name,
        "width": width,
        "height": height,
        "fps": sample.fps,
        "neg_category_ids": list(_numbers(sample, "negative")),
        "not_exhaustive_category_ids": list(_numbers(sample, "not_exhaustive")),
        "track_category_ids": {
            str(info.id): vocabulary.category_id(info.label)
            for info in sample.objects
            if info.label is not None
        },
    }


def _numbers(sample: VideoSample, attribute: str) -> tuple[int, ...]:
    value = sample.attributes.get(attribute, ())
    assert isinstance(value, tuple)
    return value


def _masks_record(
    sample: VideoSample, files: list[str], frames: tuple[int, ...], *, starts_only: bool
) -> dict[str, Any]:
    segmentations = []
    for t in frames:
        truth = sample.read_truth(t)
        tracks: dict[str, dict[str, Any]] = {}
        for number, mask in zip(truth.ids, truth.masks, strict=True):
            track: dict[str, Any] = {"rle": to_coco(encode(mask))["counts"], "is_gt": True}
            if starts_only:
                if number not in sample.points[t]:
                    continue
                rows, columns = np.nonzero(mask)
                left, top = int(columns.min()), int(rows.min())
                size = (int(columns.max()) + 1 - left, int(rows.max()) + 1 - top)
                track |= {"bbox": [left, top, *size], "point": list(sample.points[t][number])}
            tracks[str(number)] = track
        segmentations.append(tracks)
    return {
        "all_image_paths": files,
        "annotated_image_paths": [files[t] for t in frames],
        "segmentations": segmentations,
    }
