"""Still pictures of two kinds in one folder: with COCO's classes, and with masks alone."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from segblocks.data.coco import COCOInstancesDataset
from segblocks.data.dataset import VideoDataset
from segblocks.data.indexed import IndexedVideos
from segblocks.data.sample import IGNORE, Truth, VideoSample
from segblocks.data.stills import PanopticStills
from segblocks.text.union import canonical_name
from segblocks.text.vocabulary import Vocabulary, get_vocabulary

# Numbers of COCO's pictures have at most six digits.
_FIRST_OTHER = 1_000_000


def open_stills(root: Path, part: Literal["coco", "parts", "people"]) -> VideoDataset:
    """Open one kind of the pictures in a folder of COCO's panoptic layout.

    ::

        panoptic.json   panoptic/   images/
        person.json     in the layout of COCO's instances, for "people"

    Pictures whose image id is below 1,000,000 are COCO's: every pixel is annotated, their classes
    are those of ``coco_panoptic``. The others have masks of some things in them, and what has no
    mask is not labelled, which is no statement about it; they serve tasks with hints, which ask
    for nothing else.

    Args:
        root: the folder.
        part: "coco", "parts" or "people".

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a file is broken, or has no picture of this kind.
    """
    if part == "people":
        people = COCOInstancesDataset(
            root.parent, root.name, file=f"{root.name}/person.json", name="stills_people"
        )
        return StillsPart(people, tuple(range(len(people))), None, "stills_people")
    stills = PanopticStills(
        "stills",
        root / "panoptic.json",
        root / "images",
        root / "panoptic",
        official="coco_panoptic",
    )
    is_coco = [_number(stills[i]) < _FIRST_OTHER for i in range(len(stills))]
    picked = tuple(i for i, coco in enumerate(is_coco) if coco == (part == "coco"))
    if not picked:
        raise ValueError(f"{root / 'panoptic.json'}: has no pictures for {part!r}")
    classes = get_vocabulary("coco_panoptic") if part == "coco" else None
    return StillsPart(stills, picked, classes, f"stills_{part}")


def _number(still: VideoSample) -> int:
    number = still.attributes["image_id"]
    return number if isinstance(number, int) else _FIRST_OTHER


class StillsPart(IndexedVideos):
    """Some pictures of a dataset, in another vocabulary or none.

    Args:
        stills: the dataset.
        picked: indices of the pictures.
        vocabulary: whose classes are kept, by name or in another spelling; None drops classes, the
            semantic map and what is to be ignored: hints ask for nothing but their objects.
        name: of the part.
    """

    def __init__(
        self,
        stills: IndexedVideos,
        picked: tuple[int, ...],
        vocabulary: Vocabulary | None,
        name: str,
    ) -> None:
        names = (stills.names[i] for i in picked)
        super().__init__(name, "vos" if vocabulary is None else "vps", names, vocabulary)
        self._stills, self._picked = stills, picked
        self._labels = None
        if vocabulary is not None:
            given = stills.classes
            known = {
                canonical_name(c, vocabulary.name): i for i, c in enumerate(vocabulary.classes)
            }
            known |= {text: i for i, text in enumerate(vocabulary.classes)}
            labels = [
                known.get(text, known.get(canonical_name(text, given.name), IGNORE))
                for text in given.classes
            ]
            self._labels = np.array([*labels, IGNORE], np.int16)

    def _read(self, index: int) -> VideoSample:
        sample = self._stills[self._picked[index]]
        labels = self._labels
        if labels is None:
            objects = tuple(dataclasses.replace(info, label=None) for info in sample.objects)
        else:
            objects = tuple(
                dataclasses.replace(info, label=int(labels[info.label]))
                for info in sample.objects
                if info.label is not None and labels[info.label] != IGNORE
            )
        return dataclasses.replace(
            sample,
            objects=objects,
            vocabulary=self.vocabulary,
            read_truth=_PartTruth(sample, labels, frozenset(info.id for info in objects)),
        )


@dataclass(frozen=True)
class _PartTruth:
    """Reads the annotation of a picture; picklable."""

    sample: VideoSample
    labels: np.ndarray | None
    ids: frozenset[int]

    def __call__(self, t: int) -> Truth:
        truth = self.sample.read_truth(t)
        kept = [i for i, identity in enumerate(truth.ids) if identity in self.ids]
        ids, masks = tuple(truth.ids[i] for i in kept), truth.masks[kept]
        if self.labels is None or truth.semantic is None:
            return Truth(ids, masks)
        # IGNORE is -1, the last entry of the table.
        return Truth(ids, masks, self.labels[truth.semantic], truth.ignore)
