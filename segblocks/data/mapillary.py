"""Mapillary Vistas: streets of the whole world, panoptic."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from segblocks.data.files import first_existing
from segblocks.data.indexed import val_split
from segblocks.data.sample import VideoSample
from segblocks.data.stills import PanopticStills, write_panoptic_stills
from segblocks.text.vocabulary import Vocabulary

_FOLDERS = {"train": "training", "val": "validation"}
_FILES = {"v1.2": "panoptic_2018.json", "v2.0": "panoptic_2020.json"}


class MapillaryDataset(PanopticStills):
    """Read Mapillary Vistas (Neuhold et al., ICCV 2017).

    ::

        training/ or validation/
            images/<picture>.jpg
            panoptic/ or v1.2/panoptic/     panoptic_2018.json, <picture>.png
            v2.0/panoptic/                  panoptic_2020.json, <picture>.png

    Args:
        root: the folder.
        split: "train" or "val".
        version: of the annotations: "v1.2" has 65 classes, "v2.0" has 124.
        vocabulary: the classes, or what they are called; None takes the categories of the JSON.
        name: of the dataset.

    Raises:
        FileNotFoundError: the JSON is missing.
        ValueError: no such version, the JSON is broken, or a segment has no category.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        split: str = "val",
        *,
        version: str = "v1.2",
        vocabulary: str | Vocabulary | None = None,
        name: str = "mapillary",
    ) -> None:
        if version not in _FILES:
            raise ValueError(
                f"MapillaryDataset: version must be one of {list(_FILES)}, got {version!r}"
            )
        folder = Path(root) / _FOLDERS.get(val_split(split), split)
        file = _FILES[version]
        places = [f"{version}/panoptic/{file}"]
        if version == "v1.2":
            places.append(f"panoptic/{file}")
        annotations = first_existing(folder, places)
        super().__init__(
            name,
            annotations,
            folder / "images",
            annotations.parent,
            official="mapillary",
            vocabulary=vocabulary,
        )


def write_mapillary(
    samples: Iterable[VideoSample],
    root: str | os.PathLike[str],
    split: str = "val",
    *,
    suffix: str = ".jpg",
) -> None:
    """Write every annotated frame as a still picture in the layout of `MapillaryDataset`, v1.2.

    Args:
        samples: of one vocabulary; annotations are written exactly.
        root: the folder, made where missing.
        split: "train" or "val".
        suffix: ".jpg", or ".png", which keeps the pixels.

    Raises:
        ValueError: no annotated frame, a vocabulary that is missing or another, or objects that
            overlap.
    """
    folder = Path(root) / _FOLDERS.get(val_split(split), split)
    pngs = folder / "v1.2" / "panoptic"
    annotations = pngs / _FILES["v1.2"]
    write_panoptic_stills(
        samples, annotations, folder / "images", pngs, suffix=suffix, writer="write_mapillary"
    )
