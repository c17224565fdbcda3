"""VIPSeg: panoptic videos in the wild."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from segblocks.data.files import (
    FrameFiles,
    read_json,
    write_json,
)
from segblocks.data.indexed import (
    IndexedVideos,
    list_field,
    name_field,
    size_fields,
    typed_field,
    val_split,
)
from segblocks.data.label_sequence import write_frames
from segblocks.data.panoptic_png import (
    OneVocabulary,
    PanopticPng,
    PanopticTruth,
    Segments,
    category_indices,
    choose_vocabulary,
    collect_objects,
    paint_segments,
    parse_segments,
    write_panoptic_png,
)
from segblocks.data.sample import VideoSample
from segblocks.text.vocabulary import Vocabulary

_FPS = 5.0


class VIPSegDataset(IndexedVideos):
    """Read VIPSeg as its own scripts prepare it (Miao et al., CVPR 2022).

    ::

        panoptic_gt_VIPSeg_<split>.json     videos, annotations, categories
        images/<video>/<frame>.jpg
        panomasksRGB/<video>/<frame>.png    id = R + 256 G + 65536 B

    A segment keeps its id through the video. VIPSeg marks no crowds.

    Args:
        root: the folder, ``VIPSeg_720P`` of the scripts.
        split: "train" or "val".
        vocabulary: the classes, or what they are called; None takes the categories of the JSON.
        name: of the dataset.

    Raises:
        FileNotFoundError: there is no such JSON.
        ValueError: the JSON is broken, or a segment has no category.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        split: str = "val",
        *,
        vocabulary: str | Vocabulary | None = None,
        name: str = "vipseg",
    ) -> None:
        self.root = Path(root)
        path = self.root / f"panoptic_gt_VIPSeg_{val_split(split)}.json"
        self._where = str(path)
        content = read_json(path)
        classes = choose_vocabulary(vocabulary, content, "vipseg", str(path))
        indices = category_indices(classes)
        videos = typed_field(content, "videos", list, self._where)
        self._videos = [self._parse_video(i, video) for i, video in enumerate(videos)]
        self._segments: dict[str, dict[str, tuple[str, Segments]]] = {}
        known = {video[0]: set(video[2]) for video in self._videos}
        for i, video in enumerate(
            list_field(content, "annotations", dict, self._where, optional=True)
        ):
            key = name_field(video, "video_id", f"{path}: annotations[{i}]")
            where = f"{path}: annotations of {key}"
            frames = dict(
                _parse_frame(record, indices, where)
                for record in typed_field(video, "annotations", list, where)
            )
            if stray := sorted(set(frames) - known.get(key, set())):
                raise ValueError(f"{where}: file_name {stray[0]!r} is no frame of the video")
            self._segments[key] = frames
        super().__init__(name, "vps", (video[0] for video in self._videos), classes)

    def _read(self, index: int) -> VideoSample:
        name, size, frames = self._videos[index]
        known = self._segments.get(name, {})
        annotated = {
            t: PanopticPng(self.root / "panomasksRGB" / name / known[frame][0], known[frame][1])
            for t, frame in enumerate(frames)
            if frame in known
        }
        images = self.root / "images" / name
        suffix = ".png" if (images / f"{frames[0]}.png").exists() else ".jpg"
        pictures = tuple(images / f"{frame}{suffix}" for frame in frames)
        segments = (png.segments for png in annotated.values())
        return VideoSample(
            name,
            len(frames),
            size,
            FrameFiles(pictures, size),
            PanopticTruth(annotated, size, self.classes),
            tuple(annotated),
            collect_objects(segments, self.classes, f"{self._where}: {name}"),
            self.classes,
            frame_names=frames,
            fps=_FPS,
        )

    def _parse_video(self, index: int, video: Any) -> tuple[str, tuple[int, int], tuple[str, ...]]:
        name = name_field(video, "video_id", f"{self._where}: videos[{index}]")
        where = f"{self._where}: videos: {name}"
        images = typed_field(video, "images", list, where)
        if not images:
            raise ValueError(f"{where}: images must list at least one frame, got none")
        size = size_fields(images[0], where)
        return name, size, tuple(Path(typed_field(i, "file_name", str, where)).stem for i in images)


def write_vipseg(
    samples: Iterable[VideoSample],
    root: str | os.PathLike[str],
    split: str = "val",
    *,
    suffix: str = ".jpg",
) -> None:
    """Write annotated videos in the layout that `VIPSegDataset` reads.

    Args:
        samples: of one vocabulary; annotations are written exactly.
        root: the folder, made where missing.
        split: name of the part.
        suffix: ".jpg", or ".png", which keeps the pixels.

    Raises:
        ValueError: no samples, a vocabulary that is missing or another, or objects that overlap.
    """
    root, split = Path(root), val_split(split)
    videos, annotations = [], []
    shared = OneVocabulary("write_vipseg")
    for sample in samples:
        video, annotation = _write_video(sample, shared.take(sample), root, suffix)
        videos.append(video)
        annotations.append(annotation)
    content = {
        "videos": videos,
        "annotations": annotations,
        "categories": shared.categories(),
    }
    write_json(root / f"panoptic_gt_VIPSeg_{split}.json", content)


def _write_video(
    sample: VideoSample, vocabulary: Vocabulary, root: Path, suffix: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    height, width = sample.size
    images, annotations = [], []
    for t, frame in enumerate(write_frames(root / "images" / sample.name, sample, suffix)):
        file_name = f"{frame}.png"
        images.append({"id": frame, "width": width, "height": height, "file_name": file_name})
        if t in sample.annotated:
            where = f"write_vipseg: {sample.name}, frame {t}"
            truth = sample.read_truth(t)
            ids, info = paint_segments(truth, sample.objects, vocabulary, where)
            write_panoptic_png(root / "panomasksRGB" / sample.name / file_name, ids)
            annotations.append({"image_id": frame, "file_name": file_name, "segments_info": info})
    return (
        {"video_id": sample.name, "images": images},
        {"video_id": sample.name, "annotations": annotations},
    )


def _parse_frame(
    record: Any, indices: dict[int, int], where: str
) -> tuple[str, tuple[str, Segments]]:
    file_name = typed_field(record, "file_name", str, where)
    records = typed_field(record, "segments_info", list, f"{where}: {file_name}")
    return Path(file_name).stem, (
        file_name,
        parse_segments(records, indices, f"{where}: {file_name}"),
    )
