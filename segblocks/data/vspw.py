"""VSPW: semantic segmentation of videos in the wild."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segblocks.data.files import (
    FrameFiles,
    check_folder_name,
    picture_size,
    read_names,
    write_names,
    write_picture,
)
from segblocks.data.indexed import IndexedVideos, val_split
from segblocks.data.label_sequence import complete_frames, match_labels, write_frames
from segblocks.data.panoptic_png import find_vocabulary
from segblocks.data.sample import VideoSample
from segblocks.data.semantic_png import SemanticTruth, categories_from_labels
from segblocks.images import list_images
from segblocks.text.vocabulary import Vocabulary

_FPS = 15.0


class VSPWDataset(IndexedVideos):
    """Read VSPW, in its full size or as VSPW_480p (Miao et al., CVPR 2021).

    ::

        <split>.txt                         names of the videos
        data/<video>/origin/<frame>.jpg
        data/<video>/mask/<frame>.png       class 1..124; 0 and 255 are not judged

    Args:
        root: the folder.
        split: "train", "val" or "test"; without masks, a video has no annotation.
        vocabulary: the classes, or what they are called.
        allow_missing: judge the frames that have a mask where others of the video have none.
        name: of the dataset.

    Raises:
        FileNotFoundError: there is no list of videos; a mask when its video is read.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        split: str = "val",
        *,
        vocabulary: str | Vocabulary = "vspw",
        allow_missing: bool = False,
        name: str = "vspw",
    ) -> None:
        self.root = Path(root)
        self.allow_missing = allow_missing
        classes = find_vocabulary(vocabulary)
        super().__init__(name, "vss", read_names(self.root / f"{val_split(split)}.txt"), classes)

    def _read(self, index: int) -> VideoSample:
        name = self.names[index]
        folder = self.root / "data" / name
        pictures = tuple(list_images(folder / "origin"))
        size = picture_size(pictures[0])
        annotated = match_labels(pictures, folder / "mask")
        return VideoSample(
            name,
            len(pictures),
            size,
            FrameFiles(pictures, size),
            SemanticTruth(annotated, size, self.classes),
            complete_frames(annotated, pictures, allow_missing=self.allow_missing),
            (),
            self.classes,
            frame_names=tuple(picture.stem for picture in pictures),
            fps=_FPS,
        )


def write_vspw(
    samples: Iterable[VideoSample],
    root: str | os.PathLike[str],
    split: str = "val",
    *,
    suffix: str = ".jpg",
) -> None:
    """Write annotated videos in the layout that `VSPWDataset` reads.

    Args:
        samples: with semantic maps and a vocabulary whose category ids lie in 1..254; they
            are written exactly, objects are not written.
        root: the folder, made where missing.
        split: name of the part.
        suffix: ".jpg", or ".png", which keeps the pixels.

    Raises:
        ValueError: a missing vocabulary or semantic map, a category id out of range, or a name
            with a slash.
    """
    root, split = Path(root), val_split(split)
    names = []
    for sample in samples:
        names.append(check_folder_name(sample.name, "write_vspw"))
        folder = root / "data" / sample.name
        frames = write_frames(folder / "origin", sample, suffix)
        for t in sample.annotated:
            write_picture(folder / "mask" / f"{frames[t]}.png", _paint_categories(sample, t))
    write_names(root / f"{split}.txt", names)


def _paint_categories(sample: VideoSample, t: int) -> NDArray[np.uint8]:
    semantic, vocabulary = sample.read_truth(t).semantic, sample.vocabulary
    where = f"write_vspw: {sample.name}, frame {t}"
    if vocabulary is None or semantic is None:
        raise ValueError(f"{where}: there must be a vocabulary and a semantic map")
    if 0 in (vocabulary.category_ids or ()):
        raise ValueError(f"{where}: no category id may be 0, which VSPW does not judge")
    return categories_from_labels(semantic, vocabulary, where)
