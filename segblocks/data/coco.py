"""COCO: everyday pictures, with instances or panoptic."""

from __future__ import annotations

import contextlib
import os
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import numpy as np

from segblocks.data.files import FrameFiles, first_existing, get_field, read_json, write_json
from segblocks.data.indexed import (
    IndexedVideos,
    flag_field,
    int_field,
    typed_field,
    val_split,
)
from segblocks.data.panoptic_png import (
    OneVocabulary,
    category_indices,
    choose_vocabulary,
    describe_segment,
)
from segblocks.data.rle_sequence import RLEMasks, pack_counts
from segblocks.data.sample import ObjectInfo, VideoSample
from segblocks.data.stills import (
    PanopticStills,
    id_field,
    list_stills,
    read_images,
    write_image,
    write_panoptic_stills,
)
from segblocks.ops.rle import encode, to_coco
from segblocks.text.vocabulary import Vocabulary


class COCOPanopticDataset(PanopticStills):
    """Read COCO's panoptic pictures, or one's own in their format (Kirillov et al., CVPR 2019).

    ::

        annotations/panoptic_<split>2017.json   or <split>/panoptic.json
        annotations/panoptic_<split>2017/       or panoptic_<split>2017/ or <split>/panoptic/
        <split>2017/                            or images/<split>2017/ or <split>/images/

    Args:
        root: the folder.
        split: "train" or "val".
        vocabulary: the classes, or what they are called; None takes the categories of the JSON.
        name: of the dataset.

    Raises:
        FileNotFoundError: the JSON or one of the folders is missing.
        ValueError: the JSON is broken, or a segment has no category.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        split: str = "val",
        *,
        vocabulary: str | Vocabulary | None = None,
        name: str = "coco_panoptic",
    ) -> None:
        split = val_split(split)
        folder, part = Path(root), f"panoptic_{split}2017"
        annotations = (f"annotations/{part}.json", f"{split}/panoptic.json")
        pngs = (f"annotations/{part}", part, f"{split}/panoptic")
        super().__init__(
            name,
            first_existing(folder, annotations),
            first_existing(folder, _image_places(split)),
            first_existing(folder, pngs),
            official="coco_panoptic",
            vocabulary=vocabulary,
        )


class COCOInstancesDataset(IndexedVideos):
    """Read COCO's pictures with instances, or one's own in their format (Lin et al., ECCV 2014).

    ::

        annotations/instances_<split>2017.json   or <split>/instances.json
        <split>2017/                             or images/<split>2017/ or <split>/images/

    Masks may be polygons, which need pycocotools, or run lengths. Masks of one picture may overlap.
    The objects of a picture are numbered from 1 in the order of the file; what the file calls them
    is in their attribute ``annotation_id``.

    Args:
        root: the folder.
        split: "train" or "val".
        file: the JSON, relative to ``root``; None looks where COCO has it.
        vocabulary: the classes, or what they are called; None takes the categories of the JSON.
        name: of the dataset.

    Raises:
        FileNotFoundError: the JSON or the folder is missing.
        ValueError: the JSON is broken, or an annotation has no category or no picture.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        split: str = "val",
        *,
        file: str | None = None,
        vocabulary: str | Vocabulary | None = None,
        name: str = "coco_instances",
    ) -> None:
        folder, split = Path(root), val_split(split)
        places = (f"annotations/instances_{split}2017.json", f"{split}/instances.json")
        self._path = first_existing(folder, (file,) if file else places)
        self._images = first_existing(folder, _image_places(split))
        content = read_json(self._path, object_hook=_pack)
        classes = choose_vocabulary(vocabulary, content, "coco_instances", str(self._path))
        self._records = read_images(content, str(self._path))
        names = (record.name for record in self._records)
        super().__init__(name, "vis", names, classes)
        self._annotations = self._parse_annotations(content)

    def _read(self, index: int) -> VideoSample:
        record = self._records[index]
        objects, segments = [], {}
        for number, annotation in enumerate(self._annotations.get(record.id, ()), start=1):
            identity, label, crowd, segment = annotation
            objects.append(ObjectInfo(number, label, crowd, {"annotation_id": identity}))
            # Polygons wait in arrays, a quarter of the size of lists.
            is_packed = isinstance(segment, list) and all(
                isinstance(p, np.ndarray) for p in segment
            )
            segments[number] = [p.tolist() for p in segment] if is_packed else segment
        where = f"{self._path}: {record.file_name}"
        return VideoSample(
            record.name,
            1,
            record.size,
            FrameFiles((self._images / record.file_name,), record.size),
            RLEMasks({0: segments}, record.size, where),
            (0,),
            tuple(objects),
            self.classes,
            frame_names=(record.name,),
            attributes={"image_id": record.id},
        )

    def _parse_annotations(self, content: Any) -> dict[Any, list[tuple[Any, int, bool, Any]]]:
        """Image -> id, class index, whether a crowd, and mask of its annotations."""
        indices = category_indices(self.classes)
        images = {record.id for record in self._records}
        found: dict[Any, list[tuple[Any, int, bool, Any]]] = defaultdict(list)
        for i, record in enumerate(typed_field(content, "annotations", list, str(self._path))):
            where = f"{self._path}: annotations[{i}]"
            image = id_field(record, "image_id", where)
            if image not in images:
                raise ValueError(f"{where}: image_id {image!r} is not among the images")
            category = int_field(record, "category_id", where)
            if category not in indices:
                raise ValueError(f"{where}: category_id {category} is not among the categories")
            identity = id_field(record, "id", where)
            segment = get_field(record, "segmentation", where)
            crowd = flag_field(record, "iscrowd", where, default=False)
            found[image].append((identity, indices[category], crowd, segment))
        return dict(found)


def write_coco(
    samples: Iterable[VideoSample],
    root: str | os.PathLike[str],
    split: str = "val",
    *,
    kind: Literal["panoptic", "instances"] = "panoptic",
    suffix: str = ".jpg",
) -> None:
    """Write every annotated frame as a still picture in COCO's layout.

    Args:
        samples: of one vocabulary; annotations are written exactly, masks of instances as run
            lengths. As instances, an object is written for the frames that show it.
        root: the folder, made where missing.
        split: name of the part.
        kind: for `COCOPanopticDataset` or `COCOInstancesDataset`.
        suffix: ".jpg", or ".png", which keeps the pixels.

    Raises:
        ValueError: no annotated frame, a vocabulary that is missing or another, an object without a
            label, or, in panoptic annotations, objects that overlap.
    """
    split = val_split(split)
    annotations, images = Path(root) / "annotations", Path(root) / f"{split}2017"
    if kind == "panoptic":
        part = annotations / f"panoptic_{split}2017"
        json, writer = part.with_suffix(".json"), "write_coco"
        write_panoptic_stills(samples, json, images, part, suffix=suffix, writer=writer)
    elif kind == "instances":
        _write_instances(samples, annotations / f"instances_{split}2017.json", images, suffix)
    else:
        raise ValueError(f"write_coco: kind must be 'panoptic' or 'instances', got {kind!r}")


def _write_instances(samples: Iterable[VideoSample], path: Path, images: Path, suffix: str) -> None:
    pictures, annotations = [], []
    shared = OneVocabulary("write_coco")
    for number, still in enumerate(list_stills(samples, shared), start=1):
        pictures.append(write_image(still, number, images, suffix))
        known = {info.id: info for info in still.objects}
        for identity, mask in zip(still.truth.ids, still.truth.masks, strict=True):
            info = known[identity]
            if info.label is None:
                raise ValueError(f"write_coco: {still.name}: object {identity} has no label")
            category = still.vocabulary.category_id(info.label)
            record = describe_segment(len(annotations) + 1, mask, category, info.is_crowd)
            record |= {"image_id": number, "segmentation": to_coco(encode(mask))}
            annotations.append(record)
    content = {
        "images": pictures,
        "annotations": annotations,
        "categories": shared.categories("annotated frame"),
    }
    write_json(path, content)


def _image_places(split: str) -> tuple[str, ...]:
    return (f"{split}2017", f"images/{split}2017", f"{split}/images")


def _pack(record: dict[str, Any]) -> dict[str, Any]:
    """Turn polygons and run lengths into arrays while the file is read."""
    segments = record.get("segmentation")
    if isinstance(segments, list) and all(isinstance(part, list) for part in segments):
        # What is no polygon stays as it is, for an error that names its place.
        with contextlib.suppress(TypeError, ValueError):
            record["segmentation"] = [np.array(part, dtype=np.float64) for part in segments]
    return pack_counts(record)
