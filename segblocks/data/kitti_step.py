"""KITTI-STEP: streets in which every pixel is segmented and tracked."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segblocks.data.files import (
    FrameFiles,
    check_folder_name,
    first_existing,
    list_folder,
    picture_size,
    read_ids,
    write_picture,
)
from segblocks.data.indexed import IndexedVideos, at_frame, val_split
from segblocks.data.label_sequence import complete_frames, match_labels, write_frames
from segblocks.data.panoptic_png import find_vocabulary, thing_label
from segblocks.data.sample import IGNORE, ObjectInfo, Truth, VideoSample
from segblocks.data.semantic_png import VOID, categories_from_labels, labels_from_categories
from segblocks.images import list_images
from segblocks.text.vocabulary import Vocabulary

_SHIFT = 16
_FPS = 10.0

Key = tuple[int, int]  # class index and instance number


class KITTISTEPDataset(IndexedVideos):
    """Read KITTI-STEP (Weber et al., NeurIPS 2021 datasets).

    ::

        images/<split>/<sequence>/<frame>.png           or training/image_02/<sequence>/...
        panoptic_maps/<split>/<sequence>/<frame>.png    R class, 256 G + B instance; class 255 void

    Instances are counted a class, so that a person and a car may have one number. Objects have that
    number where it is of one class in the sequence, and 65536 x class index + number where several
    share it. Pixels of a thing with the number 0 are crowds: they are in the semantic map alone.
    The objects of a sequence are found by reading all its maps, when it is first asked for.

    Args:
        root: the folder.
        split: "train" or "val".
        vocabulary: the classes, or what they are called.
        allow_missing: judge the frames that have a map where others of the sequence have none.
        name: of the dataset.

    Raises:
        FileNotFoundError: one of the folders is missing, or a map when its sequence is read.
        ValueError: a sequence without pictures.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        split: str = "val",
        *,
        vocabulary: str | Vocabulary = "kitti_step",
        allow_missing: bool = False,
        name: str = "kitti_step",
    ) -> None:
        self.root = Path(root)
        self.allow_missing = allow_missing
        classes = find_vocabulary(vocabulary)
        split = val_split(split)
        self._maps = self.root / "panoptic_maps" / split
        self._images = first_existing(self.root, (f"images/{split}", "training/image_02"))
        names = (path.name for path in list_folder(self._maps) if path.is_dir())
        super().__init__(name, "vps", names, classes)
        self._objects: dict[str, dict[Key, int]] = {}

    def _read(self, index: int) -> VideoSample:
        name = self.names[index]
        pictures = tuple(list_images(self._images / name))
        size = picture_size(pictures[0])
        maps = match_labels(pictures, self._maps / name)
        if name not in self._objects:
            self._objects[name] = _number_objects(maps.values(), size, self.classes)
        ids = self._objects[name]
        objects = sorted((identity, label) for (label, _), identity in ids.items())
        return VideoSample(
            name,
            len(pictures),
            size,
            FrameFiles(pictures, size),
            StepTruth(maps, size, self.classes, ids),
            complete_frames(maps, pictures, allow_missing=self.allow_missing),
            tuple(ObjectInfo(identity, label) for identity, label in objects),
            self.classes,
            frame_names=tuple(picture.stem for picture in pictures),
            fps=_FPS,
        )


@dataclass(frozen=True)
class StepTruth:
    """Read annotations from the maps of KITTI-STEP.

    Args:
        maps: annotated frame index -> its PNG.
        size: (H, W) that all must have.
        vocabulary: of the classes.
        ids: class index and instance number -> object id.
    """

    maps: Mapping[int, Path]
    size: tuple[int, int]
    vocabulary: Vocabulary
    ids: Mapping[Key, int]

    def __call__(self, t: int) -> Truth:
        """Return the annotation of frame ``t``."""
        labels, instances = _read_map(at_frame(self.maps, t), self.size, self.vocabulary)
        shown = {
            self.ids[key]: (labels == key[0]) & (instances == key[1])
            for key in _find_instances(labels, instances, self.vocabulary)
        }
        ids = tuple(sorted(shown))
        masks = np.array([shown[i] for i in ids], dtype=np.bool_).reshape(-1, *self.size)
        void = labels == IGNORE
        return Truth(ids, masks, labels, void if void.any() else None)


def write_kitti_step(
    samples: Iterable[VideoSample], root: str | os.PathLike[str], split: str = "val"
) -> None:
    """Write annotated videos in the layout that `KITTISTEPDataset` reads.

    Args:
        samples: with a vocabulary whose category ids are below 255; frames lose nothing.
            Crowds lose their ids.
        root: the folder, made where missing.
        split: name of the part.

    Raises:
        ValueError: no vocabulary, objects that overlap or are of no thing class, or ids that the
            reader would not give again: beyond 65535, or shifted though the number is of one class;
            or a name with a slash.
    """
    root, split = Path(root), val_split(split)
    for sample in samples:
        check_folder_name(sample.name, "write_kitti_step")
        keys = _find_keys(sample)
        frames = write_frames(root / "images" / split / sample.name, sample, ".png")
        folder = root / "panoptic_maps" / split / sample.name
        for t in sample.annotated:
            write_picture(folder / f"{frames[t]}.png", _paint_map(sample, t, keys))


def _find_keys(sample: VideoSample) -> dict[int, Key]:
    """Class index and number, 0 for crowds, under which the reader gives each id again."""
    where = f"write_kitti_step: {sample.name}"
    vocabulary = sample.vocabulary
    if vocabulary is None:
        raise ValueError(f"{where}: there must be a vocabulary and a semantic map")
    known = {info.id: info for info in sample.objects}
    seen: set[int] = set()
    for t in sample.annotated:
        seen |= set(sample.read_truth(t).ids)
    keys: dict[int, Key] = {}
    for identity in sorted(seen):
        info = known[identity]
        label = thing_label(info, vocabulary, where)
        number = identity - (label << _SHIFT if identity >> _SHIFT == label else 0)
        if not info.is_crowd and not 0 < number < 1 << _SHIFT:
            raise ValueError(f"{where}: ids must lie in 1..65535, got {identity}")
        keys[identity] = (label, 0 if info.is_crowd else number)
    counted = [key for key in keys.values() if key[1]]
    again = _assign_ids(counted)
    for identity, (label, number) in keys.items():
        if number and (counted.count((label, number)) > 1 or again[label, number] != identity):
            raise ValueError(
                f"{where}: object {identity} would be number {number} of class {label} and be read "
                f"as {again[label, number]}; give the objects other ids"
            )
    return keys


def _paint_map(sample: VideoSample, t: int, keys: Mapping[int, Key]) -> NDArray[np.uint8]:
    truth, vocabulary = sample.read_truth(t), sample.vocabulary
    where = f"write_kitti_step: {sample.name}, frame {t}"
    if vocabulary is None or truth.semantic is None:
        raise ValueError(f"{where}: there must be a vocabulary and a semantic map")
    if truth.masks.sum(axis=0).max(initial=0) > 1:
        raise ValueError(f"{where}: objects overlap, which a panoptic annotation cannot hold")
    labels, instances = truth.semantic.copy(), np.zeros(sample.size, np.int64)
    for identity, mask in zip(truth.ids, truth.masks, strict=True):
        labels[mask], instances[mask] = keys[identity]
    categories = categories_from_labels(labels, vocabulary, where)
    return np.stack([categories, instances >> 8, instances & 255], -1).astype(np.uint8)


def _number_objects(
    maps: Iterable[Path], size: tuple[int, int], vocabulary: Vocabulary
) -> dict[Key, int]:
    """Give every object of a sequence its id."""
    keys: set[Key] = set()
    for path in maps:
        keys.update(_find_instances(*_read_map(path, size, vocabulary), vocabulary))
    return _assign_ids(keys)


def _assign_ids(keys: Iterable[Key]) -> dict[Key, int]:
    """The id of each object: its number, shifted by its class where several classes have it."""
    classes: dict[int, set[int]] = defaultdict(set)
    for label, number in keys:
        classes[number].add(label)
    return {
        (label, number): number if len(labels) == 1 else (label << _SHIFT) + number
        for number, labels in classes.items()
        for label in labels
    }


def _find_instances(
    labels: NDArray[np.int16], instances: NDArray[np.int64], vocabulary: Vocabulary
) -> list[Key]:
    counted = instances > 0
    pairs = np.unique((labels[counted].astype(np.int64) << _SHIFT) + instances[counted]).tolist()
    keys = [(pair >> _SHIFT, pair & ((1 << _SHIFT) - 1)) for pair in pairs]
    return [key for key in keys if key[0] >= 0 and vocabulary.is_thing(key[0])]


def _read_map(
    path: Path, size: tuple[int, int], vocabulary: Vocabulary
) -> tuple[NDArray[np.int16], NDArray[np.int64]]:
    """Class indices and instance numbers of a map, both (H, W)."""
    pixels = read_ids(path, size, channels=3)
    labels = labels_from_categories(pixels[..., 0], vocabulary, str(path), void=(VOID,))
    return labels, pixels[..., 1].astype(np.int64) * 256 + pixels[..., 2]
