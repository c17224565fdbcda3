"""ADE20K: scenes, as the challenge of 150 classes has them."""

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

_FOLDERS = {"train": "training", "val": "validation"}
_OTHER = 0
_MAX_INSTANCE = 255


class ADE20KDataset(IndexedVideos):
    """Read ADEChallengeData2016 with its instances of 2017 (Zhou et al., CVPR 2017).

    ::

        images/<part>/<picture>.jpg                  part: training or validation
        annotations/<part>/<picture>.png             class 1..150, 0 is none of them
        annotations_instance/<part>/<picture>.png    R thing class 1..100, G number of the object

    Stuff is what the first annotation says, things are the objects of the second, on top; the
    thing class k is the k-th of the things among the 150 classes. A thing that is no object in the
    second annotation is not labelled. So does the panoptic annotation that Mask2Former and TarViS
    train on.

    Args:
        root: the folder.
        split: "train" or "val".
        vocabulary: the classes, or what they are called.
        name: of the dataset.

    Raises:
        FileNotFoundError: one of the folders is missing.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        split: str = "val",
        *,
        vocabulary: str | Vocabulary = "ade20k",
        name: str = "ade20k",
    ) -> None:
        part = _FOLDERS.get(val_split(split), split)
        classes = find_vocabulary(vocabulary)
        self._pictures = list_images(Path(root) / "images" / part)
        self._folders = [Path(root) / f"annotations{kind}" / part for kind in ("", "_instance")]
        for folder in self._folders:
            if not folder.is_dir():
                raise FileNotFoundError(f"{folder}: no such folder")
        names = (picture.stem for picture in self._pictures)
        super().__init__(name, "vps", names, classes)

    def _read(self, index: int) -> VideoSample:
        picture = self._pictures[index]
        size = picture_size(picture)
        semantic, instances = (folder / f"{picture.stem}.png" for folder in self._folders)
        truth = ADETruth(semantic, instances, size, self.classes)
        _, segments = truth.load()
        return VideoSample(
            picture.stem,
            1,
            size,
            FrameFiles((picture,), size),
            truth,
            (0,),
            collect_objects([segments], self.classes, str(instances)),
            self.classes,
            frame_names=(picture.stem,),
        )


@dataclass(frozen=True)
class ADETruth:
    """Read an annotation of ADE20K.

    Args:
        semantic: PNG of the classes.
        instances: PNG of the objects.
        size: (H, W) that both must have.
        vocabulary: of the classes.
    """

    semantic: Path
    instances: Path
    size: tuple[int, int]
    vocabulary: Vocabulary

    def load(self) -> tuple[NDArray[np.int64], Segments]:
        """Return a map of segment ids, 0 where nothing is labelled, and what they mean.

        Objects have their numbers as ids, stuff has numbers above these.
        """
        categories = read_ids(self.semantic, self.size, channels=1)
        labels = labels_from_categories(
            categories, self.vocabulary, str(self.semantic), void=(_OTHER,)
        )
        # The last entry is for IGNORE.
        no_stuff = np.array([*map(self.vocabulary.is_thing, range(len(self.vocabulary))), True])
        ids = np.where(no_stuff[labels], 0, labels + np.int64(_MAX_INSTANCE + 1))
        pixels = read_ids(self.instances, self.size, channels=3)
        numbers = pixels[..., 1].astype(np.int64)
        ids = np.where(numbers > 0, numbers, ids)
        things = self._object_labels(pixels[..., 0], numbers)
        shown = np.flatnonzero(np.bincount(ids.ravel())).tolist()
        stuff = [(i, i - _MAX_INSTANCE - 1) for i in shown if i > _MAX_INSTANCE]
        table = [*things.items(), *stuff]
        values = np.array(table, dtype=np.int32).reshape(-1, 2)
        crowd = np.zeros(len(values), np.bool_)
        return ids, Segments(values[:, 0], values[:, 1].astype(np.int16), crowd)

    def _object_labels(
        self, categories: NDArray[np.uint8], numbers: NDArray[np.int64]
    ) -> dict[int, int]:
        """Object -> class index, ascending by object."""
        things = self.vocabulary.thing_ids
        labels: dict[int, int] = {}
        pairs = np.unique(numbers[numbers > 0] << 8 | categories[numbers > 0])
        for pair in pairs.tolist():
            number, category = pair >> 8, pair & 255
            if not 0 < category <= len(things):
                raise ValueError(
                    f"{self.instances}: object {number} has the class {category}, which must lie "
                    f"in 1..{len(things)}"
                )
            if number in labels:
                raise ValueError(f"{self.instances}: object {number} has more than one class")
            labels[number] = things[category - 1]
        return labels

    def __call__(self, t: int) -> Truth:
        """Return the annotation."""
        return make_truth(*self.load(), self.vocabulary, str(self.semantic))


def write_ade20k(
    samples: Iterable[VideoSample],
    root: str | os.PathLike[str],
    split: str = "val",
    *,
    suffix: str = ".jpg",
) -> None:
    """Write every annotated frame as a still picture in the layout that `ADE20KDataset` reads.

    Args:
        samples: with semantic maps, of one vocabulary whose category ids lie in 1..255, with object
            ids up to 255; annotations are written exactly. Crowds become objects.
        root: the folder, made where missing.
        split: "train" or "val".
        suffix: ".jpg", or ".png", which keeps the pixels.

    Raises:
        ValueError: a missing vocabulary or semantic map, an id out of range, or a name with a
            slash.
    """
    root, part = Path(root), _FOLDERS.get(val_split(split), split)
    for still in list_stills(samples, OneVocabulary("write_ade20k")):
        check_folder_name(still.name, "write_ade20k")
        write_picture(root / "images" / part / f"{still.name}{suffix}", still.frame)
        categories, instances = _paint(still)
        write_picture(root / "annotations" / part / f"{still.name}.png", categories)
        write_picture(root / "annotations_instance" / part / f"{still.name}.png", instances)


def _paint(still: Still) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    where, truth, vocabulary = f"write_ade20k: {still.name}", still.truth, still.vocabulary
    if truth.semantic is None:
        raise ValueError(f"{where}: there must be a semantic map")
    labels = truth.semantic.copy()
    instances = np.zeros((*labels.shape, 3), np.uint8)
    known = {info.id: info for info in still.objects}
    for identity, mask in zip(truth.ids, truth.masks, strict=True):
        label = thing_label(known[identity], vocabulary, where)
        if not 0 < identity <= _MAX_INSTANCE:
            raise ValueError(f"{where}: ids must lie in 1..{_MAX_INSTANCE}, got {identity}")
        labels[mask] = label
        instances[mask] = (vocabulary.thing_ids.index(label) + 1, identity, 0)
    return categories_from_labels(labels, vocabulary, where, void=_OTHER), instances
