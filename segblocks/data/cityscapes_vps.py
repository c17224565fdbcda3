"""Cityscapes-VPS: panoptic videos of streets."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from segblocks.data.files import FrameFiles, read_json, write_json, write_picture
from segblocks.data.indexed import (
    IndexedVideos,
    int_field,
    list_field,
    name_field,
    size_fields,
    typed_field,
    val_split,
)
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

_DENSE_STEP = 10_000
_PREFIX = len("0000_0000_")
_FPS = 17.0


class CityscapesVPSDataset(IndexedVideos):
    """Read Cityscapes-VPS as its own scripts prepare it (Kim et al., CVPR 2020).

    ::

        panoptic_gt_<split>_city_vps.json       images, annotations, categories
        im_all_info_<split>_city_vps.json       images; for dense=True
        <split>/img/<image>                     the frames that have an annotation, every fifth
        <split>/img_all/<image>                 all frames; for dense=True
        <split>/panoptic_video/<annotation>     id = R + 256 G + 65536 B

    A video is the images whose ids begin with the same four digits, sorted by id. A segment keeps
    its id through the video; groups of people or cars are crowds.

    Args:
        root: the folder.
        split: "train", "val" or "test".
        dense: give all 30 frames of a video, of which every fifth is annotated, instead of these 6.
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
        dense: bool = False,
        vocabulary: str | Vocabulary | None = None,
        name: str = "cityscapes_vps",
    ) -> None:
        self.root = Path(root)
        self.split = split = val_split(split)
        self.dense = dense
        path = self.root / f"panoptic_gt_{split}_city_vps.json"
        self._where = str(path)
        content = read_json(path)
        classes = choose_vocabulary(vocabulary, content, "cityscapes_vps", str(path))
        self._videos = self._group_images(typed_field(content, "images", list, self._where))
        super().__init__(name, "vps", sorted(self._videos), classes)
        self._segments = self._parse_annotations(
            list_field(content, "annotations", dict, self._where, optional=True)
        )
        self._dense = self._group_dense_images() if dense else {}

    def _read(self, index: int) -> VideoSample:
        name = self.names[index]
        images = self._videos[name]
        frames = {image: t for t, (image, _, _) in enumerate(images)}
        pictures = [("img", file_name) for _, file_name, _ in images]
        if self.dense:
            pictures = [("img_all", file_name) for file_name in self._dense[name]]
            places = {
                file_name[: file_name.rfind("_")]: t for t, (_, file_name) in enumerate(pictures)
            }
            frames = {image: places[image[_PREFIX:]] for image in frames}
        folder, size = self.root / self.split, images[0][2]
        annotated = {
            t: PanopticPng(folder / "panoptic_video" / file_name, segments)
            for image, t in frames.items()
            if image in self._segments
            for file_name, segments in (self._segments[image],)
        }
        segments = (png.segments for png in annotated.values())
        return VideoSample(
            name,
            len(pictures),
            size,
            FrameFiles(tuple(folder / kind / file_name for kind, file_name in pictures), size),
            PanopticTruth(annotated, size, self.classes),
            tuple(sorted(annotated)),
            collect_objects(segments, self.classes, f"{self._where}: {name}"),
            self.classes,
            frame_names=tuple(Path(file_name).stem for _, file_name in pictures)
            if self.dense
            else tuple(frames),
            fps=_FPS if self.dense else _FPS / 5,
        )

    def _group_images(self, images: Any) -> dict[str, list[tuple[str, str, tuple[int, int]]]]:
        """Video -> id, file and size of its images, in order."""
        videos: dict[str, list[tuple[str, str, tuple[int, int]]]] = defaultdict(list)
        for i, image in enumerate(images):
            where = f"{self._where}: images[{i}]"
            identity = name_field(image, "id", where)
            file_name = typed_field(image, "file_name", str, where)
            videos[identity[:4]].append((identity, file_name, size_fields(image, where)))
        return {name: sorted(found) for name, found in videos.items()}

    def _parse_annotations(self, annotations: Any) -> dict[str, tuple[str, Segments]]:
        """Image id -> its PNG and segments."""
        indices = category_indices(self.classes)
        known = {image for images in self._videos.values() for image, _, _ in images}
        found = {}
        for i, record in enumerate(annotations):
            where = f"{self._where}: annotations[{i}]"
            infos = typed_field(record, "segments_info", list, where)
            identity = name_field(record, "image_id", where)
            if identity not in known:
                raise ValueError(f"{where}: image_id {identity!r} is not among the images")
            file_name = typed_field(record, "file_name", str, where)
            found[identity] = (file_name, parse_segments(infos, indices, where))
        return found

    def _group_dense_images(self) -> dict[str, list[str]]:
        """Video -> files of all its images, in order; their ids are video * 10000 + frame."""
        path = self.root / f"im_all_info_{self.split}_city_vps.json"
        videos: dict[int, list[tuple[int, str]]] = defaultdict(list)
        for i, image in enumerate(typed_field(read_json(path), "images", list, str(path))):
            where = f"{path}: images[{i}]"
            identity = int_field(image, "id", where)
            file_name = typed_field(image, "file_name", str, where)
            videos[identity // _DENSE_STEP].append((identity, file_name))
        by_frame = {
            file_name[: file_name.rfind("_")]: number
            for number, found in videos.items()
            for _, file_name in found
        }
        dense = {}
        for name in self.names:
            frames = [image[_PREFIX:] for image, _, _ in self._videos[name]]
            for frame in frames:
                if by_frame.get(frame) != by_frame.get(frames[0]) or frame not in by_frame:
                    raise ValueError(
                        f"{path}: images: the video of {frames[0]!r} lacks its annotated frame "
                        f"{frame!r}"
                    )
            dense[name] = [file_name for _, file_name in sorted(videos[by_frame[frames[0]]])]
        return dense


def write_cityscapes_vps(
    samples: Iterable[VideoSample], root: str | os.PathLike[str], split: str = "val"
) -> None:
    """Write annotated videos in the layout that `CityscapesVPSDataset` reads with ``dense=False``.

    The videos are called ``0001``, ``0002`` and so on, in the order of the samples.

    Args:
        samples: of one vocabulary; only annotated frames are written, all without loss.
        root: the folder, made where missing.
        split: name of the part.

    Raises:
        ValueError: no samples, a vocabulary that is missing or another, or objects that overlap.
    """
    root, split = Path(root), val_split(split)
    images, annotations = [], []
    shared = OneVocabulary("write_cityscapes_vps")
    for number, sample in enumerate(samples, start=1):
        vocabulary = shared.take(sample)
        height, width = sample.size
        for t in sample.annotated:
            image = f"{number:04d}_{t + 1:04d}_made_{number - 1:06d}_{t:06d}"
            file_name = f"{image}_newImg8bit.png"
            write_picture(root / split / "img" / file_name, sample.read_frame(t))
            images.append({"id": image, "width": width, "height": height, "file_name": file_name})
            where = f"write_cityscapes_vps: {sample.name}, frame {t}"
            ids, info = paint_segments(sample.read_truth(t), sample.objects, vocabulary, where)
            file_name = f"{image}_final_mask.png"
            write_panoptic_png(root / split / "panoptic_video" / file_name, ids)
            annotations.append({"image_id": image, "file_name": file_name, "segments_info": info})
    content = {
        "images": images,
        "annotations": annotations,
        "categories": shared.categories(),
    }
    write_json(root / f"panoptic_gt_{split}_city_vps.json", content)
