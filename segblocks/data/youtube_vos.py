"""YouTube-VOS 2018 and 2019: palette PNGs, and a file that names each object's class and frames."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from segblocks.data.files import (
    FrameFiles,
    check_folder_name,
    first_existing,
    picture_size,
    read_json,
    write_json,
)
from segblocks.data.indexed import (
    IndexedVideos,
    list_field,
    split_folder,
    split_names,
    to_int,
    typed_field,
)
from segblocks.data.label_sequence import (
    LabelFiles,
    judged_frames,
    match_labels,
    write_frames,
    write_labels,
)
from segblocks.data.sample import ObjectInfo, VideoSample
from segblocks.images import list_images

_FPS, _FPS_ALL = 6.0, 30.0

_SEEN = """
airplane ape bear bike bird boat bucket bus camel cat cow crocodile deer dog dolphin duck
eagle earless_seal elephant fish fox frisbee frog giant_panda giraffe hand hat hedgehog
horse knife leopard lion lizard monkey motorbike mouse others owl paddle parachute parrot
penguin person plant rabbit raccoon sedan shark sheep sign skateboard snail snake snowboard
squirrel surfboard tennis_racket tiger toilet train truck turtle umbrella whale zebra
"""

#: The 65 classes of the training set, the same in 2018 and 2019; all others are unseen.
SEEN_CATEGORIES = frozenset(_SEEN.split())


class YouTubeVOSDataset(IndexedVideos):
    """Read YouTube-VOS: ``<split>/JPEGImages``, ``<split>/Annotations``, ``<split>/meta.json``.

    Objects may appear late: each one's hint frame is the first of those that ``meta.json`` lists
    for it whose PNG shows it (the lists of a few training videos start too early). An object's
    attributes hold its "category" and whether that was "seen" in training, where ``meta.json``
    tells. The validation and test sets give hint frames alone, so that `VideoSample.annotated` is
    empty there.

    Args:
        root: the folder that holds ``train`` and ``valid``.
        split: "train", "val" or "test".
        year: 2018 or 2019; the layouts are the same.
        all_frames: read the frames at 30 Hz, of ``<split>_all_frames``, rather than those that are
            annotated, at 6 Hz.
        allow_missing: judge the frames that have a PNG where others that ``meta.json`` lists for an
            object have none.
        name: of the dataset; None takes ``youtube_vos_<year>``.

    Raises:
        FileNotFoundError: there is no folder of this split, or no ``meta.json`` in it, or a video
            has PNGs of some listed frames alone, which is found when it is read.
        ValueError: ``meta.json`` is broken or lacks a field.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        *,
        split: str = "val",
        year: int = 2019,
        all_frames: bool = False,
        allow_missing: bool = False,
        name: str | None = None,
    ) -> None:
        root = Path(root)
        self.allow_missing = allow_missing
        self.folder = split_folder(root, split)
        self.meta_file = self.folder / "meta.json"
        self.frames_folder = self.folder / "JPEGImages"
        self.fps = _FPS_ALL if all_frames else _FPS
        if all_frames:
            stem = f"{self.folder.name}_all_frames"
            places = [f"{stem}/JPEGImages", f"all_frames/{stem}/JPEGImages"]
            self.frames_folder = first_existing(root, places)
        videos = typed_field(read_json(self.meta_file), "videos", dict, str(self.meta_file))
        super().__init__(name or f"youtube_vos_{year}", "vos", videos)
        self._objects = {
            video: read_objects(record, f"{self.meta_file}: video {video!r}")
            for video, record in videos.items()
        }

    def _read(self, index: int) -> VideoSample:
        video = self.names[index]
        objects = self._objects[video]
        frames = tuple(list_images(self.frames_folder / video))
        size = picture_size(frames[0])
        labels = LabelFiles(
            match_labels(frames, self.folder / "Annotations" / video),
            size,
            known=frozenset(objects),
            known_from=str(self.meta_file),
        )
        hint_frames = find_hint_frames(objects, labels, frames)
        return VideoSample(
            video,
            len(frames),
            size,
            FrameFiles(frames, size),
            labels,
            judged_frames(
                labels.paths,
                hint_frames,
                frames,
                expected=_listed_frames(objects, frames),
                allow_missing=self.allow_missing,
            ),
            tuple(ObjectInfo(n, attributes=_attributes(r)) for n, r in sorted(objects.items())),
            hint_frames=hint_frames,
            frame_names=tuple(path.stem for path in frames),
            fps=self.fps,
        )


def read_objects(record: Any, where: str) -> dict[int, dict[str, Any]]:
    """Return the objects of a video of ``meta.json`` by id.

    Raises:
        ValueError: they are missing, or an id is no number; ``where`` is named.
    """
    objects: dict[int, dict[str, Any]] = {}
    for key, value in typed_field(record, "objects", dict, where).items():
        if not isinstance(value, dict):
            raise ValueError(f"{where}: object {key!r} must be an object, got {value!r}")
        place = f"{where}: object {key!r}"
        list_field(value, "frames", str, place, optional=True)
        if "category" in value:
            typed_field(value, "category", str, place)
        objects[to_int(key, f"{where}: key of objects")] = value
    return objects


def find_hint_frames(
    objects: Mapping[int, Mapping[str, Any]], labels: LabelFiles, frames: tuple[Path, ...]
) -> dict[int, int]:
    """Find the first frame that shows each object.

    Only PNGs of frames that ``meta.json`` lists for an object are looked at, one after the other
    until it shows; where it lists none, all.

    Args:
        objects: id -> its record in ``meta.json``.
        labels: reads the PNGs.
        frames: picture files.

    Returns:
        Object id -> frame, for those that are shown.
    """
    numbers = {path.stem: t for t, path in enumerate(frames)}
    shown: dict[int, tuple[int, ...]] = {}
    hints: dict[int, int] = {}
    for number, record in sorted(objects.items()):
        listed = [numbers[name] for name in record.get("frames") or () if name in numbers]
        for t in sorted(listed or labels.paths):
            if t not in labels.paths:
                continue
            if t not in shown:
                shown[t] = labels.ids(t)
            if number in shown[t]:
                hints[number] = t
                break
    return hints


def _listed_frames(objects: Mapping[int, Mapping[str, Any]], frames: tuple[Path, ...]) -> set[int]:
    """The frames that ``meta.json`` lists for any object."""
    numbers = {path.stem: t for t, path in enumerate(frames)}
    names = {name for record in objects.values() for name in record.get("frames") or ()}
    return {numbers[name] for name in names if name in numbers}


def write_youtube_vos(
    samples: Iterable[VideoSample],
    root: str | os.PathLike[str],
    split: str = "val",
    *,
    suffix: str = ".jpg",
) -> None:
    """Write videos in the layout of YouTube-VOS.

    Where objects overlap, the higher id is on top. An object's class is its attribute "category"
    or its label.

    Args:
        samples: the videos, one in memory at a time.
        root: folder of the dataset; it is made.
        split: "val" is written as ``valid``, as in the official dataset.
        suffix: ".jpg", or ".png", which keeps the pixels.

    Raises:
        ValueError: ignored pixels, which YouTube-VOS has none of, or a name with a slash.
    """
    folder = Path(root) / split_names(split)[0]
    videos = {}
    for sample in samples:
        check_folder_name(sample.name, "write_youtube_vos")
        names = write_frames(folder / "JPEGImages" / sample.name, sample, suffix)
        write_labels(folder / "Annotations" / sample.name, sample, names, void=None)
        videos[sample.name] = {"objects": object_records(sample, names)}
    write_json(folder / "meta.json", {"videos": videos})


def object_records(sample: VideoSample, names: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    """Describe the objects of a video as ``meta.json`` does.

    Args:
        sample: the video.
        names: of its frames.

    Returns:
        Object id -> "category" where it has one, and "frames".
    """
    shown = {t: sample.read_truth(t).ids for t in sample.annotated}
    records: dict[str, dict[str, Any]] = {}
    for info in sample.objects:
        frames = {t for t, ids in shown.items() if info.id in ids}
        if info.id in sample.hint_frames:
            frames.add(sample.hint_frames[info.id])
        record: dict[str, Any] = {"frames": [names[t] for t in sorted(frames)]}
        if "category" in info.attributes:
            record["category"] = info.attributes["category"]
        elif info.label is not None and sample.vocabulary is not None:
            record["category"] = sample.vocabulary.classes[info.label]
        records[str(info.id)] = record
    return records


def _attributes(record: Mapping[str, Any]) -> dict[str, object]:
    if "category" not in record:
        return {}
    category = record["category"]
    return {"category": category, "seen": category in SEEN_CATEGORIES}
