"""Cityscapes: streets, with fine annotations."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segblocks.data.files import (
    FrameFiles,
    check_folder_name,
    list_folder,
    picture_size,
    read_ids,
    write_picture,
)
from segblocks.data.indexed import IndexedVideos, val_split
from segblocks.data.panoptic_png import (
    OneVocabulary,
    Segments,
    collect_objects,
    find_vocabulary,
    make_truth,
    thing_label,
)
from segblocks.data.sample import Truth, VideoSample
from segblocks.data.semantic_png import categories_from_labels, labels_from_categories
from segblocks.data.stills import Still, list_stills
from segblocks.images import list_images
from segblocks.text.vocabulary import Vocabulary

_UNLABELED = 0
_INSTANCES = 1000
_MAX = 65535


class CityscapesDataset(IndexedVideos):
    """Read Cityscapes' fine annotations (Cordts et al., CVPR 2016).

    ::

        leftImg8bit/<split>/<city>/<picture>_leftImg8bit.png
        gtFine/<split>/<city>/<picture>_gtFine_instanceIds.png

    The value of a pixel is its label (0..33), or 1000 x label + number where it belongs to an
    object of a thing class. Objects have these values as ids. Things without a number are groups:
    a crowd, whose id is the label. Label 0, "unlabeled", is not judged, as in TarViS.

    Args:
        root: the folder.
        split: "train" or "val".
        vocabulary: the classes, or what they are called.
        name: of the dataset.

    Raises:
        FileNotFoundError: the folder of pictures is missing.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        split: str = "val",
        *,
        vocabulary: str | Vocabulary = "cityscapes",
        name: str = "cityscapes",
    ) -> None:
        self.root = Path(root)
        classes = find_vocabulary(vocabulary)
        self._split = split = val_split(split)
        cities = list_folder(self.root / "leftImg8bit" / split)
        self._pictures = [p for city in cities if city.is_dir() for p in list_images(city)]
        names = (picture.stem.removesuffix("_leftImg8bit") for picture in self._pictures)
        super().__init__(name, "vps", names, classes)

    def _read(self, index: int) -> VideoSample:
        name, picture = self.names[index], self._pictures[index]
        folder = self.root / "gtFine" / self._split / picture.parent.name
        size = picture_size(picture)
        truth = InstanceIds(folder / f"{name}_gtFine_instanceIds.png", size, self.classes)
        _, segments = truth.load()
        return VideoSample(
            name,
            1,
            size,
            FrameFiles((picture,), size),
            truth,
            (0,),
            collect_objects([segments], self.classes, str(truth.path)),
            self.classes,
            frame_names=(name,),
        )


@dataclass(frozen=True)
class InstanceIds:
    """Read an annotation of Cityscapes.

    Args:
        path: of the PNG.
        size: (H, W) that it must have.
        vocabulary: of the classes.
    """

    path: Path
    size: tuple[int, int]
    vocabulary: Vocabulary

    def load(self) -> tuple[NDArray[np.int64], Segments]:
        """Return the picture's values, 0 where nothing is judged, and what they mean."""
        ids = read_ids(self.path, self.size, channels=1)
        values = np.flatnonzero(np.bincount(ids.ravel()))
        categories = np.where(values < _INSTANCES, values, values // _INSTANCES)
        labels = labels_from_categories(
            categories, self.vocabulary, str(self.path), void=(_UNLABELED,)
        )
        judged = labels >= 0
        kept = np.zeros(values[-1] + 1, np.int64)
        kept[values[judged]] = values[judged]
        thing = np.array([self.vocabulary.is_thing(i) for i in labels[judged].tolist()], np.bool_)
        crowd = thing & (values[judged] < _INSTANCES)
        return kept[ids], Segments(values[judged].astype(np.int32), labels[judged], crowd)

    def __call__(self, t: int) -> Truth:
        """Return the annotation."""
        return make_truth(*self.load(), self.vocabulary, str(self.path))


def write_cityscapes(
    samples: Iterable[VideoSample], root: str | os.PathLike[str], split: str = "val"
) -> None:
    """Write every annotated frame as a still picture in the layout that `CityscapesDataset` reads.

    Args:
        samples: with semantic maps, of one vocabulary whose category ids lie in 1..64; all is
            written without loss. An id that is already 1000 x label + number stays, others are
            counted a class in ascending order. Crowds of one class become one.
        root: the folder, made where missing.
        split: name of the part.

    Raises:
        ValueError: a missing vocabulary or semantic map, a category id out of range, or a name
            with a slash.
    """
    root, split = Path(root), val_split(split)
    for still in list_stills(samples, OneVocabulary("write_cityscapes")):
        check_folder_name(still.name, "write_cityscapes")
        city = "made"
        write_picture(
            root / "leftImg8bit" / split / city / f"{still.name}_leftImg8bit.png", still.frame
        )
        instances, categories = _paint(still)
        folder = root / "gtFine" / split / city
        write_picture(folder / f"{still.name}_gtFine_instanceIds.png", instances)
        write_picture(folder / f"{still.name}_gtFine_labelIds.png", categories)


def _paint(still: Still) -> tuple[NDArray[np.uint16], NDArray[np.uint8]]:
    where, truth = f"write_cityscapes: {still.name}", still.truth
    if truth.semantic is None:
        raise ValueError(f"{where}: there must be a semantic map")
    categories = categories_from_labels(truth.semantic, still.vocabulary, where, void=_UNLABELED)
    instances = categories.astype(np.int64)
    known = {info.id: info for info in still.objects}
    counts: dict[int, int] = {}
    for identity, mask in zip(truth.ids, truth.masks, strict=True):
        info = known[identity]
        category = still.vocabulary.category_id(thing_label(info, still.vocabulary, where))
        number = counts.get(category, -1) + 1
        if identity // _INSTANCES == category:
            number = identity % _INSTANCES
        counts[category] = max(counts.get(category, -1), number)
        categories[mask] = category
        instances[mask] = category if info.is_crowd else category * _INSTANCES + number
    if instances.max() > _MAX:
        raise ValueError(f"{where}: category ids of things must be at most 64")
    return instances.astype(np.uint16), categories
