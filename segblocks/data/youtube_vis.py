"""YouTube-VIS 2019 and 2021, OVIS, UVO: one JSON file with the masks of all tracks."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from segblocks.data.files import FrameFiles, first_existing, read_json, write_json
from segblocks.data.indexed import (
    IndexedVideos,
    flag_field,
    list_field,
    size_fields,
    split_names,
    split_places,
    typed_field,
)
from segblocks.data.label_sequence import write_frames
from segblocks.data.panoptic_png import OneVocabulary, choose_vocabulary
from segblocks.data.rle_sequence import RLEMasks, pack_counts
from segblocks.data.sample import ObjectInfo, VideoSample
from segblocks.ops.rle import encode, to_coco
from segblocks.text.vocabulary import Vocabulary


@dataclass(frozen=True)
class JSONLayout:
    """Where a dataset keeps its files; ``{split}`` is "train", "valid" or "val", "test".

    Args:
        annotations: places of the JSON file, the likeliest first.
        frames: places of the folder that the file names in the JSON file start from.
    """

    annotations: tuple[str, ...]
    frames: tuple[str, ...]


YOUTUBE_VIS = JSONLayout(
    (
        "{split}/instances.json",
        "{split}.json",
        "annotations/{split}.json",
        "annotations/instances_{split}.json",
    ),
    ("{split}/JPEGImages", "{split}"),
)
OVIS = JSONLayout(
    (
        "annotations_{split}.json",
        "annotations/annotations_{split}.json",
        "annotations/{split}.json",
        "{split}/instances.json",
        "{split}.json",
    ),
    ("{split}/JPEGImages", "Images/{split}", "{split}_images", "{split}"),
)
UVO = JSONLayout(
    (
        "VideoDenseSet/UVO_video_{split}_dense_with_label.json",
        "annotations/VideoDenseSet/UVO_video_{split}_dense_with_label.json",
        "{split}/instances.json",
    ),
    ("uvo_videos_dense_frames", "{split}/JPEGImages"),
)


@dataclass
class _Video:
    name: str
    number: int
    size: tuple[int, int]
    files: tuple[str, ...]
    objects: list[ObjectInfo] = field(default_factory=list)
    segments: list[list[Any]] = field(default_factory=list)


class YouTubeVISDataset(IndexedVideos):
    """Read YouTube-VIS, OVIS, UVO, and other files of that form.

    Objects are numbered within each video from 1, in the order of the file; attributes are
    "annotation_id" and, in OVIS, "occlusion" (a word a frame, None where the object is absent).
    The attribute "video_id" of a video is the number by which submissions call it. Where the file
    has no annotations, as in the official validation and test sets, `VideoSample.annotated` is
    empty.

    Args:
        root: folder of the dataset.
        split: "train", "val" or "test".
        layout: where the files are.
        vocabulary: a name or a list of classes whose category ids are those of the file; None
            takes the classes from the file, as things.
        annotation_file: the JSON file, where it has another place.
        frames_folder: the folder of the frames, where it has another place.
        annotated: whether the videos are annotated, so that one without tracks is known to show no
            object; None says so where the file has a track in any video. False leaves tracks out.
        name: of the dataset.

    Raises:
        FileNotFoundError: there is no such file or folder.
        ValueError: the file is broken, lacks a field, or names a category or a video that is not
            listed.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        *,
        split: str = "val",
        layout: JSONLayout = YOUTUBE_VIS,
        vocabulary: str | Vocabulary | None = None,
        annotation_file: str | os.PathLike[str] | None = None,
        frames_folder: str | os.PathLike[str] | None = None,
        annotated: bool | None = None,
        name: str = "youtube_vis",
    ) -> None:
        root = Path(root)
        self.annotation_file = (
            first_existing(root, split_places(layout.annotations, split))
            if annotation_file is None
            else Path(annotation_file)
        )
        self.frames_folder = (
            first_existing(root, split_places(layout.frames, split))
            if frames_folder is None
            else Path(frames_folder)
        )
        content = read_json(self.annotation_file, object_hook=pack_counts)
        where = str(self.annotation_file)
        classes = choose_vocabulary(vocabulary, content, None, where, name=name)
        videos = _index_videos(content, where)
        tracks = list_field(content, "annotations", dict, where, optional=True)
        tracks = [] if annotated is False else tracks
        self.has_annotations = bool(tracks) if annotated is None else annotated
        _index_tracks(tracks, videos, classes, where)
        self._videos = list(videos.values())
        super().__init__(name, "vis", (video.name for video in self._videos), classes)

    def _read(self, index: int) -> VideoSample:
        video = self._videos[index]
        num_frames = len(video.files)
        annotated = tuple(range(num_frames)) if self.has_annotations else ()
        segments: dict[int, dict[int, Any]] = {t: {} for t in annotated}
        for info, track in zip(video.objects, video.segments, strict=True):
            for t, segment in enumerate(track):
                if segment is not None:
                    segments[t][info.id] = segment
        return VideoSample(
            video.name,
            num_frames,
            video.size,
            FrameFiles(tuple(self.frames_folder / file for file in video.files), video.size),
            RLEMasks(segments, video.size, f"{self.annotation_file}: video {video.name!r}"),
            annotated,
            tuple(video.objects),
            self.vocabulary,
            frame_names=tuple(PurePosixPath(file).stem for file in video.files),
            attributes={"video_id": video.number},
        )


def _index_videos(content: Any, path: str) -> dict[int, _Video]:
    videos: dict[int, _Video] = {}
    taken: set[str] = set()
    for i, record in enumerate(typed_field(content, "videos", list, path)):
        where = f"{path}: videos[{i}]"
        number = typed_field(record, "id", int, where)
        files = list_field(record, "file_names", str, where)
        size = size_fields(record, where)
        if not files or not all(PurePosixPath(file).name for file in files):
            raise ValueError(f"{where}: the field 'file_names' must list at least one file")
        name = PurePosixPath(files[0]).parent.as_posix()
        if name == "." or name in taken:
            # Stills as videos of one frame share a folder.
            name = PurePosixPath(files[0]).with_suffix("").as_posix()
        if number in videos or name in taken:
            raise ValueError(f"{where}: the video {number} ({name!r}) is listed twice")
        taken.add(name)
        videos[number] = _Video(name, number, size, tuple(files))
    return videos


def _index_tracks(
    records: list[Any], videos: Mapping[int, _Video], vocabulary: Vocabulary, path: str
) -> None:
    labels = {vocabulary.category_id(i): i for i in range(len(vocabulary))}
    for i, record in enumerate(records):
        where = f"{path}: annotations[{i}]"
        number = typed_field(record, "video_id", int, where)
        category = typed_field(record, "category_id", int, where)
        segments = typed_field(record, "segmentations", list, where)
        if number not in videos:
            raise ValueError(f"{where}: the field 'video_id' names {number}, which is no video")
        if category not in labels:
            raise ValueError(
                f"{where}: the field 'category_id' names {category}, which is no category of "
                f"{vocabulary.name}"
            )
        video = videos[number]
        if len(segments) != len(video.files):
            raise ValueError(
                f"{where}: the field 'segmentations' must hold one mask or null for each of the "
                f"{len(video.files)} frames of {video.name!r}, got {len(segments)}"
            )
        attributes: dict[str, object] = {"annotation_id": record.get("id")}
        if "occlusion" in record:
            attributes["occlusion"] = tuple(typed_field(record, "occlusion", list, where))
        crowd = flag_field(record, "iscrowd", where, default=False)
        info = ObjectInfo(len(video.objects) + 1, labels[category], crowd, attributes)
        video.objects.append(info)
        video.segments.append(segments)


def write_youtube_vis(
    samples: Iterable[VideoSample],
    root: str | os.PathLike[str],
    split: str = "val",
    *,
    suffix: str = ".jpg",
) -> None:
    """Write videos in the layout of YouTube-VIS 2021, which the readers of the others take too.

    All videos need one vocabulary. Where no video has annotations, the file has none either; where
    none shows an object, it is read with ``annotated=True``, since test sets look the same. The
    layout knows no ignored pixels; where a video has some, that is lost.

    Args:
        samples: the videos, one in memory at a time.
        root: folder of the dataset; it is made.
        split: "val" is written as ``valid``, as in the official dataset.
        suffix: ".jpg", or ".png", which keeps the pixels.

    Raises:
        ValueError: no samples, no vocabulary, another one than that of the first video, or an
            object without a class.
    """
    folder = Path(root) / split_names(split)[0]
    shared = OneVocabulary("write_youtube_vis")
    videos: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    has_annotations = False
    for number, sample in enumerate(samples, start=1):
        vocabulary = shared.take(sample)
        names = write_frames(folder / "JPEGImages" / sample.name, sample, suffix)
        files = [f"{sample.name}/{name}{suffix}" for name in names]
        videos.append(_video_record(sample, number, files))
        has_annotations |= bool(sample.annotated)
        annotations += _track_records(sample, number, len(annotations) + 1, vocabulary)
    content = {
        "info": {},
        "licenses": [],
        "videos": videos,
        "categories": [c | {"supercategory": "object"} for c in shared.categories()],
    }
    if has_annotations:
        content["annotations"] = annotations
    write_json(folder / "instances.json", content)


def _video_record(sample: VideoSample, number: int, files: list[str]) -> dict[str, Any]:
    height, width = sample.size
    return {
        "id": number,
        "height": height,
        "width": width,
        "length": sample.num_frames,
        "file_names": files,
    }


def _track_records(
    sample: VideoSample, video_id: int, first_id: int, vocabulary: Vocabulary
) -> list[dict[str, Any]]:
    height, width = sample.size
    records: dict[int, dict[str, Any]] = {}
    for i, info in enumerate(sample.objects if sample.annotated else ()):
        if info.label is None:
            raise ValueError(f"write_youtube_vis: {sample.name}: object {info.id} has no class")
        records[info.id] = {
            "id": first_id + i,
            "video_id": video_id,
            "category_id": vocabulary.category_id(info.label),
            "iscrowd": int(info.is_crowd),
            "height": height,
            "width": width,
            "length": sample.num_frames,
            "segmentations": [None] * sample.num_frames,
            "bboxes": [None] * sample.num_frames,
            "areas": [None] * sample.num_frames,
        }
        if "occlusion" in info.attributes:
            records[info.id]["occlusion"] = info.attributes["occlusion"]
    for t in sample.annotated:
        truth = sample.read_truth(t)
        for number, mask in zip(truth.ids, truth.masks, strict=True):
            record = records[number]
            rows, columns = mask.any(axis=1).nonzero()[0], mask.any(axis=0).nonzero()[0]
            left, top = int(columns[0]), int(rows[0])
            record["segmentations"][t] = to_coco(encode(mask))
            record["bboxes"][t] = [left, top, int(columns[-1]) + 1 - left, int(rows[-1]) + 1 - top]
            record["areas"][t] = int(mask.sum())
    return list(records.values())
