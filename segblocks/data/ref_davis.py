"""Ref-DAVIS17 as it is downloaded: DAVIS 2017, and four text files of sentences."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from segblocks.data.davis import list_videos, scanned_sample
from segblocks.data.files import first_existing, picture_size
from segblocks.data.indexed import IndexedVideos
from segblocks.data.label_sequence import VOID, FirstFrames, LabelFiles, match_labels
from segblocks.data.referring import ReferringDataset
from segblocks.data.sample import Expression, ObjectInfo, VideoSample
from segblocks.images import list_images

_FPS = 24.0
_TEXTS = "davis_text_annotations"
#: One sentence of each file in turn, as converted copies number them; and how they are encoded.
_FILES = (
    ("Davis17_annot1.txt", "utf-8"),
    ("Davis17_annot1_full_video.txt", "utf-8"),
    ("Davis17_annot2.txt", "latin-1"),
    ("Davis17_annot2_full_video.txt", "latin-1"),
)
_LINE = re.compile(r'(?P<video>\S+)\s+(?P<object>\d+)\s+"?(?P<text>.*?)"?\s*')
#: Videos that the text files spell in their own way.
_SPELLINGS = {"clasic-car": "classic-car", "dog-scale": "dogs-scale", "motor-bike": "motorbike"}


class RefDAVISDataset(IndexedVideos):
    """Read Ref-DAVIS17 (Khoreva et al. 2018).

    Every object has four sentences, in turn by annotator 1 from its first frame and from the whole
    video, then by annotator 2. They are numbered from "0" through the objects of a video, so that
    a number's rest by 4 tells the kind; results are reported for each kind and averaged.

    Args:
        root: the folder that holds ``davis_text_annotations`` and ``DAVIS``, or the folders of
            DAVIS themselves.
        split: "train" or "val".
        annotations: the folder of the masks; the sentences are judged on those that were made for
            the unsupervised task.
        allow_missing: judge the frames that have a PNG where others of the video have none.
        name: of the dataset.

    Raises:
        FileNotFoundError: a folder or file is missing; a PNG when its video is read.
        ValueError: a line is no sentence, or a video lacks some.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        *,
        split: str = "val",
        annotations: str = "Annotations_unsupervised",
        allow_missing: bool = False,
        name: str = "ref_davis17",
    ) -> None:
        self.root = Path(root)
        self.allow_missing = allow_missing
        texts = first_existing(self.root, [_TEXTS, f"DAVIS/{_TEXTS}"])
        if (self.root / "DAVIS").is_dir():
            self.root = self.root / "DAVIS"
        super().__init__(name, "refvos", list_videos(self.root, split, 2017))
        self.annotations = first_existing(self.root, [f"{annotations}/480p"])
        kinds = [_read_sentences(texts / file, encoding) for file, encoding in _FILES]
        self._expressions = {video: _number(video, kinds, texts) for video in self.names}
        self._first_frames = FirstFrames()

    def _read(self, index: int) -> VideoSample:
        video = self.names[index]
        expressions = self._expressions[video]
        frames = tuple(list_images(self.root / "JPEGImages" / "480p" / video))
        paths = match_labels(frames, self.annotations / video)
        labels = LabelFiles(paths, picture_size(frames[0]), void=VOID)
        first = self._first_frames.find(video, labels)
        sample = scanned_sample(
            video, frames, labels, first, fps=_FPS, allow_missing=self.allow_missing
        )
        numbers = set(first) | {i for e in expressions for i in e.object_ids}
        return replace(
            sample,
            objects=tuple(ObjectInfo(number) for number in sorted(numbers)),
            expressions=expressions,
            hint_frames={},
        )


def open_ref_davis(
    root: str | os.PathLike[str], **options: Any
) -> RefDAVISDataset | ReferringDataset:
    """Open Ref-DAVIS17 as downloaded, or converted to the layout of Ref-YouTube-VOS.

    Args:
        root: a folder; one with ``meta_expressions`` in it is a converted copy.
        options: of the reader.
    """
    if (Path(root) / "meta_expressions").is_dir():
        return ReferringDataset(root, **options)
    return RefDAVISDataset(root, **options)


def _read_sentences(path: Path, encoding: str) -> dict[str, list[tuple[int, str]]]:
    """Return the objects and sentences of each video, by object."""
    try:
        lines = path.read_text(encoding=encoding).splitlines()
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such file") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not readable as {encoding} ({error})") from error
    sentences: dict[str, list[tuple[int, str]]] = {}
    for i, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        match = _LINE.fullmatch(line.strip())
        if match is None:
            raise ValueError(f'{path}: line {i}: expected a video, an object, "a sentence": {line}')
        video = _SPELLINGS.get(match["video"], match["video"])
        sentences.setdefault(video, []).append((int(match["object"]), match["text"]))
    return {video: sorted(found, key=lambda s: s[0]) for video, found in sentences.items()}


def _number(
    video: str, kinds: Iterable[dict[str, list[tuple[int, str]]]], texts: Path
) -> tuple[Expression, ...]:
    by_kind = [kind.get(video, []) for kind in kinds]
    if len({tuple(number for number, _ in kind) for kind in by_kind}) != 1 or not by_kind[0]:
        counts = {
            file: [number for number, _ in kind]
            for (file, _), kind in zip(_FILES, by_kind, strict=True)
        }
        raise ValueError(f"{texts}: the files do not name the same objects of {video!r}: {counts}")
    ordered = [sentence for row in zip(*by_kind, strict=True) for sentence in row]
    return tuple(Expression(str(i), text, (number,)) for i, (number, text) in enumerate(ordered))
