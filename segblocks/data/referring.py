"""Ref-DAVIS17 and Ref-YouTube-VOS: sentences about objects, over the folders of YouTube-VOS."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from segblocks.data.files import FrameFiles, first_existing, picture_size, read_json, write_json
from segblocks.data.indexed import (
    IndexedVideos,
    list_field,
    split_folder,
    split_names,
    split_places,
    to_int,
    typed_field,
)
from segblocks.data.label_sequence import LabelFiles, judged_frames, match_labels
from segblocks.data.sample import Expression, ObjectInfo, VideoSample
from segblocks.data.youtube_vos import read_objects, write_youtube_vos
from segblocks.images import list_images

_EXPRESSIONS = (
    "meta_expressions/{split}/meta_expressions.json",
    "{split}/meta_expressions.json",
)
_TEST = "meta_expressions/test/meta_expressions.json"


class ReferringDataset(IndexedVideos):
    """Read Ref-YouTube-VOS, and Ref-DAVIS17 in the same layout, to which it is usually converted.

    ``meta_expressions/<split>/meta_expressions.json`` holds the sentences and names the frames;
    ``<split>/JPEGImages`` and ``<split>/Annotations`` (palette PNGs) are as in YouTube-VOS, and so
    is ``<split>/meta.json``, where there is one. In validation and test sets a sentence may come
    without its object, and `VideoSample.annotated` is empty where there are no PNGs, or those of
    frames in which objects start alone. In Ref-DAVIS17 every object has four sentences in turn: two
    of annotator 1 (first frame, whole video), then two of annotator 2.

    Args:
        root: the folder that holds ``meta_expressions``.
        split: "train", "val" or "test".
        allow_missing: judge the frames that have a PNG where others of the video have none.
        name: of the dataset.

    Raises:
        FileNotFoundError: there is no such file or folder, or a video has PNGs of some frames
            alone, which is found when it is read.
        ValueError: a file is broken, lacks a field, or a sentence is about an unknown object.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        *,
        split: str = "val",
        allow_missing: bool = False,
        name: str = "ref_youtube_vos",
    ) -> None:
        root = Path(root)
        self.allow_missing = allow_missing
        self.expression_file = first_existing(root, split_places(_EXPRESSIONS, split))
        self.folder = _frames_folder(root, split)
        videos = _read_videos(self.expression_file)
        if split in ("val", "valid") and (root / _TEST).exists():
            # The file of the validation set lists the test set too.
            hidden = _read_videos(root / _TEST)
            videos = {video: record for video, record in videos.items() if video not in hidden}
        super().__init__(name, "refvos", videos)
        self._videos = videos
        self._objects = _read_meta(self.folder / "meta.json", self.names)

    def _read(self, index: int) -> VideoSample:
        video = self.names[index]
        where = f"{self.expression_file}: video {video!r}"
        frames, labels = self._find_files(video, where)
        objects = self._objects.get(video)
        expressions = tuple(_read_expressions(self._videos[video], objects, where))
        if objects is None:
            numbers = {number for e in expressions for number in e.object_ids}
            infos = tuple(ObjectInfo(number) for number in sorted(numbers))
        else:
            infos = tuple(
                ObjectInfo(number, attributes={k: r[k] for k in ("category",) if k in r})
                for number, r in sorted(objects.items())
            )
        size = picture_size(frames[0])
        truth = LabelFiles(
            labels,
            size,
            known=None if objects is None else frozenset(objects),
            known_from=str(self.folder / "meta.json"),
        )
        return VideoSample(
            video,
            len(frames),
            size,
            FrameFiles(frames, size),
            truth,
            judged_frames(
                labels,
                # Hints can only be all that there is where some frames have no PNG.
                truth.first_frames() if 0 < len(labels) < len(frames) else {},
                frames,
                allow_missing=self.allow_missing,
            ),
            infos,
            expressions=expressions,
            frame_names=tuple(path.stem for path in frames),
        )

    def _find_files(self, video: str, where: str) -> tuple[tuple[Path, ...], dict[int, Path]]:
        """Return the frames that the sentences are about, and the PNGs of those that have one."""
        present = tuple(list_images(self.folder / "JPEGImages" / video))
        files = {path.stem: path for path in present}
        names = list_field(self._videos[video], "frames", str, where)
        if missing := [name for name in names if name not in files]:
            raise FileNotFoundError(
                f"{where}: the frames {missing[:3]} are missing in {present[0].parent}"
            )
        if not names:
            raise ValueError(f"{where}: the field 'frames' must name at least one frame")
        labels = match_labels(present, self.folder / "Annotations" / video)
        by_name = {present[t].stem: path for t, path in labels.items()}
        ordered = sorted(names)
        return (
            tuple(files[name] for name in ordered),
            {t: by_name[name] for t, name in enumerate(ordered) if name in by_name},
        )


def _frames_folder(root: Path, split: str) -> Path:
    # The frames of the test set lie among those of the validation set in some copies.
    if split == "test" and not (root / "test").is_dir():
        return split_folder(root, "val")
    return split_folder(root, split)


def _read_videos(path: Path) -> dict[str, Any]:
    return typed_field(read_json(path), "videos", dict, str(path))


def _read_meta(path: Path, videos: Iterable[str]) -> dict[str, dict[int, dict[str, Any]]]:
    if not path.exists():
        return {}
    records = _read_videos(path)
    return {
        video: read_objects(records[video], f"{path}: video {video!r}")
        for video in videos
        if video in records
    }


def _read_expressions(
    record: Any, objects: dict[int, dict[str, Any]] | None, where: str
) -> Iterator[Expression]:
    for key, value in typed_field(record, "expressions", dict, where).items():
        place = f"{where}: expression {key!r}"
        text = typed_field(value, "exp", str, place)
        given = value.get("obj_id", [])
        numbers = tuple(
            to_int(number, f"{place}: obj_id")
            for number in (given if isinstance(given, list) else [given])
        )
        if objects is not None and (stray := [n for n in numbers if n not in objects]):
            raise ValueError(
                f"{place}: is about the objects {stray}, which meta.json does not list"
            )
        yield Expression(key, text, numbers)


def write_referring(
    samples: Iterable[VideoSample],
    root: str | os.PathLike[str],
    split: str = "val",
    *,
    suffix: str = ".jpg",
) -> None:
    """Write videos with sentences in the layout of Ref-YouTube-VOS.

    Args:
        samples: the videos, one in memory at a time.
        root: folder of the dataset; it is made.
        split: "val" is written as ``valid``, as in the official dataset.
        suffix: ".jpg", or ".png", which keeps the pixels.

    Raises:
        ValueError: ignored pixels, which the layout cannot hold, or a name with a slash.
    """
    videos: dict[str, dict[str, Any]] = {}

    def collect() -> Iterator[VideoSample]:
        for sample in samples:
            expressions = {e.id: _expression_record(e) for e in sample.expressions}
            videos[sample.name] = {"expressions": expressions, "frames": list(sample.file_names)}
            yield sample

    write_youtube_vos(collect(), root, split, suffix=suffix)
    path = f"meta_expressions/{split_names(split)[0]}/meta_expressions.json"
    write_json(Path(root) / path, {"videos": videos})


def _expression_record(expression: Expression) -> dict[str, Any]:
    numbers = [str(number) for number in expression.object_ids]
    record: dict[str, Any] = {"exp": expression.text}
    if numbers:
        record["obj_id"] = numbers[0] if len(numbers) == 1 else numbers
    return record
