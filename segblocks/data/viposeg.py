"""VIPOSeg: things and stuff to follow, in folders like those of YouTube-VOS."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from segblocks.data.files import (
    FrameFiles,
    check_folder_name,
    picture_size,
    read_json,
    write_json,
)
from segblocks.data.indexed import IndexedVideos, split_folder, split_names, to_int
from segblocks.data.label_sequence import (
    FirstFrames,
    LabelFiles,
    judged_frames,
    match_labels,
    write_frames,
    write_labels,
)
from segblocks.data.sample import ObjectInfo, Truth, VideoSample
from segblocks.data.youtube_vos import object_records
from segblocks.images import list_images
from segblocks.text.vocabulary import get_vocabulary

_UNSEEN_THINGS = (102, 99, 109, 47, 55, 61, 118, 72, 46, 96, 64, 101, 86, 97, 100, 116, 95)
_UNSEEN_STUFF = (9, 71, 120, 58, 94, 5, 34, 20, 6, 26, 112, 17, 57, 113, 25, 81, 38)

#: Indices of the classes that do not occur in the training set.
UNSEEN_CLASSES = frozenset(_UNSEEN_THINGS + _UNSEEN_STUFF)

# The class "other machine" mixes kinds; it counts as unseen in some videos alone.
_OTHER_MACHINE = 98
_VIDEOS = """
187_WUZUSD4477I 319_l1Dz12fxQzQ 320_nhKXemkIvh4 517_AWvYuplla_s 532_QmZyJuLlEec
774_devdFjIpDcc 1016_HG0AsTOxI5g 1017_IAU0WGB9VPw 1020_TgCIv6bp3XM 1021_cPOxAMo28yk
1022_emSaDd2ddj0 1033_sh81AwYuihg 1065_d2sHRyAHKqI 1067_fk3jhxBi1pA 1068_gxnZkf0LQfk
1069_jFHRbZxswz8 1070_uTJB31tuYes 1072_zvNEdUk5k0Q 1230_AGY-gQ_3O8Y 1333__iprMPKLdOQ
1334_qlmfvYA3_rk 2004_1btxeVbyojs 2005_83KrhWajwfw
"""
_OTHER_MACHINE_VIDEOS = frozenset(_VIDEOS.split())


class VIPOSegDataset(IndexedVideos):
    """Read VIPOSeg, the panoptic benchmark of video object segmentation (Xu et al. 2023).

    ``<split>/JPEGImages`` holds the frames. In the training set ``Annotations`` holds PNGs of the
    object ids for all frames; in the validation set it holds those in which objects start, and
    ``Annotations_gt`` all. ``obj_class.json`` gives the class of each object, an index of the
    vocabulary ``vipseg``. An object's attribute "seen" says whether its class occurs in training.

    Args:
        root: the folder that holds ``train`` and ``valid``.
        split: "train" or "val".
        allow_missing: judge the frames that have a PNG where others of the video have none.
        name: of the dataset.

    Raises:
        FileNotFoundError: there is no folder of this split, or no ``obj_class.json`` in it, or a
            video has PNGs of some frames alone, which is found when it is read.
        ValueError: ``obj_class.json`` is broken or holds an unknown class.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        *,
        split: str = "val",
        allow_missing: bool = False,
        name: str = "viposeg",
    ) -> None:
        self.allow_missing = allow_missing
        self.folder = split_folder(Path(root), split)
        self.class_file = self.folder / "obj_class.json"
        classes = read_json(self.class_file)
        if not isinstance(classes, dict):
            raise ValueError(f"{self.class_file}: expected an object, got {classes!r:.40}")
        super().__init__(name, "vos", sorted(classes), get_vocabulary("vipseg"))
        self._labels = {video: self._read_labels(video, classes[video]) for video in self.names}
        self._first_frames = FirstFrames()

    def _read_labels(self, video: str, record: Any) -> dict[int, int]:
        where = f"{self.class_file}: video {video!r}"
        if not isinstance(record, Mapping):
            raise ValueError(f"{where}: expected object ids with classes, got {record!r:.40}")
        labels = {to_int(key, where): to_int(value, where) for key, value in record.items()}
        for number, label in labels.items():
            if not 0 <= label < len(self.classes):
                raise ValueError(
                    f"{where}: object {number} has the class {label}; "
                    f"classes are 0 to {len(self.classes) - 1}"
                )
        return labels

    def _read(self, index: int) -> VideoSample:
        video = self.names[index]
        classes = self._labels[video]
        frames = tuple(list_images(self.folder / "JPEGImages" / video))
        size = picture_size(frames[0])
        given = self._label_files(frames, size, "Annotations", video)
        full = self._label_files(frames, size, "Annotations_gt", video)
        hint_frames = self._first_frames.find(video, given)
        self._check_hints(video, frames, hint_frames, full)
        truth = full if full.paths else given
        return VideoSample(
            video,
            len(frames),
            size,
            FrameFiles(frames, size),
            truth,
            judged_frames(truth.paths, hint_frames, frames, allow_missing=self.allow_missing),
            tuple(self._describe(video, number, classes[number]) for number in sorted(classes)),
            self.vocabulary,
            hint_frames=hint_frames,
            frame_names=tuple(path.stem for path in frames),
        )

    def _check_hints(
        self,
        video: str,
        frames: tuple[Path, ...],
        hint_frames: Mapping[int, int],
        full: LabelFiles,
    ) -> None:
        """Refuse a video of which some objects are judged but never given."""
        lacking = set(self._labels[video]) - set(hint_frames)
        if not lacking or self.allow_missing:
            return
        for number, t in full.first_frames().items():
            if number in lacking:
                name = f"{frames[t].stem}.png"
                raise FileNotFoundError(
                    f"{self.folder / 'Annotations' / video / name}: no PNG gives object {number}, "
                    "which starts in this frame; allow_missing=True does not ask for it"
                )

    def _label_files(
        self, frames: tuple[Path, ...], size: tuple[int, int], folder: str, video: str
    ) -> LabelFiles:
        return LabelFiles(
            match_labels(frames, self.folder / folder / video),
            size,
            known=frozenset(self._labels[video]),
            known_from=str(self.class_file),
        )

    def _describe(self, video: str, number: int, label: int) -> ObjectInfo:
        unseen = label in UNSEEN_CLASSES
        if label == _OTHER_MACHINE:
            unseen = video in _OTHER_MACHINE_VIDEOS
        return ObjectInfo(number, label, attributes={"seen": not unseen})


def write_viposeg(
    samples: Iterable[VideoSample],
    root: str | os.PathLike[str],
    split: str = "val",
    *,
    suffix: str = ".jpg",
) -> None:
    """Write videos in the layout of VIPOSeg.

    Args:
        samples: the videos, one in memory at a time; labels are indices of ``vipseg``.
        root: folder of the dataset; it is made.
        split: "train", or "val", which gets ``Annotations_gt`` and ``meta.json`` besides.
        suffix: ".jpg", or ".png", which keeps the pixels.

    Raises:
        ValueError: an object without a class, ignored pixels, which the layout cannot hold, or a
            name with a slash.
    """
    folder = Path(root) / split_names(split)[0]
    classes, videos = {}, {}
    for sample in samples:
        if unnamed := [info.id for info in sample.objects if info.label is None]:
            raise ValueError(f"write_viposeg: {sample.name}: the objects {unnamed} have no class")
        check_folder_name(sample.name, "write_viposeg")
        names = write_frames(folder / "JPEGImages" / sample.name, sample, suffix)
        full = "Annotations" if split == "train" else "Annotations_gt"
        write_labels(folder / full / sample.name, sample, names, void=None)
        if split != "train":
            hints = folder / "Annotations" / sample.name
            write_labels(hints, _hints_only(sample), names, void=None)
        classes[sample.name] = {str(info.id): str(info.label) for info in sample.objects}
        videos[sample.name] = {"objects": object_records(sample, names)}
    write_json(folder / "obj_class.json", classes)
    if split != "train":
        write_json(folder / "meta.json", {"videos": videos})


def _hints_only(sample: VideoSample) -> VideoSample:
    """Leave of the annotation what a task may see: each object in the frame where it starts."""
    return replace(sample, annotated=(), read_truth=partial(_starting, sample))


def _starting(sample: VideoSample, t: int) -> Truth:
    truth = sample.read_truth(t)
    kept = [i for i, number in enumerate(truth.ids) if sample.hint_frames.get(number) == t]
    return Truth(tuple(truth.ids[i] for i in kept), truth.masks[kept])
