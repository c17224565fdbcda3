"""Still pictures as videos of one frame, and videos as still pictures."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from segblocks.data.files import (
    FrameFiles,
    read_json,
    write_json,
    write_picture,
)
from segblocks.data.indexed import (
    IndexedVideos,
    list_field,
    name_field,
    size_fields,
    typed_field,
)
from segblocks.data.panoptic_png import (
    OneVocabulary,
    PanopticPng,
    PanopticTruth,
    Segments,
    category_indices,
    choose_vocabulary,
    collect_objects,
    paint_segments,
    parse_segments,
    write_panoptic_png,
)
from segblocks.data.sample import Frame, ObjectInfo, Truth, VideoSample
from segblocks.text.vocabulary import Vocabulary


class Still(NamedTuple):
    """One annotated frame of a video, alone."""

    name: str
    frame: Frame
    truth: Truth
    objects: tuple[ObjectInfo, ...]
    vocabulary: Vocabulary


class ImageRecord(NamedTuple):
    """What COCO's JSON files say of a picture."""

    id: Any
    file_name: str
    size: tuple[int, int]

    @property
    def name(self) -> str:
        """The file without suffix, with its folder where it has one."""
        return str(Path(self.file_name).with_suffix(""))


class PanopticStills(IndexedVideos):
    """Read still pictures in COCO's panoptic format.

    Args:
        name: of the dataset.
        annotations: the JSON.
        images: folder of the pictures.
        pngs: folder of the panoptic PNGs.
        official: the vocabulary that the categories are, as a rule.
        vocabulary: the classes, or what they are called; None takes the categories of the JSON.

    Raises:
        FileNotFoundError: there is no such JSON.
        ValueError: the JSON is broken, or a segment has no category.
    """

    def __init__(
        self,
        name: str,
        annotations: Path,
        images: Path,
        pngs: Path,
        *,
        official: str,
        vocabulary: str | Vocabulary | None = None,
    ) -> None:
        self._annotations, self._images, self._pngs = annotations, images, pngs
        content = read_json(annotations)
        classes = choose_vocabulary(vocabulary, content, official, str(annotations))
        self._records = read_images(content, str(annotations))
        self._segments: dict[Any, tuple[str, Segments]] = {}
        indices = category_indices(classes)
        records = list_field(content, "annotations", dict, str(annotations), optional=True)
        known = {record.id for record in self._records}
        for i, record in enumerate(records):
            where = f"{annotations}: annotations[{i}]"
            infos = typed_field(record, "segments_info", list, where)
            image = id_field(record, "image_id", where)
            if image not in known:
                raise ValueError(f"{where}: image_id {image!r} is not among the images")
            self._segments[image] = (
                typed_field(record, "file_name", str, where),
                parse_segments(infos, indices, where),
            )
        super().__init__(name, "vps", (record.name for record in self._records), classes)

    def _read(self, index: int) -> VideoSample:
        record = self._records[index]
        annotated: dict[int, PanopticPng] = {}
        if record.id in self._segments:
            file_name, segments = self._segments[record.id]
            annotated[0] = PanopticPng(self._pngs / file_name, segments)
        found = (png.segments for png in annotated.values())
        return VideoSample(
            record.name,
            1,
            record.size,
            FrameFiles((self._images / record.file_name,), record.size),
            PanopticTruth(annotated, record.size, self.classes),
            tuple(annotated),
            collect_objects(found, self.classes, f"{self._annotations}: {record.file_name}"),
            self.classes,
            frame_names=(record.name,),
            attributes={"image_id": record.id},
        )


def write_panoptic_stills(
    samples: Iterable[VideoSample],
    annotations: Path,
    images: Path,
    pngs: Path,
    *,
    suffix: str,
    writer: str,
) -> None:
    """Write every annotated frame as a still picture in COCO's panoptic format.

    Args:
        samples: of one vocabulary; annotations are written exactly.
        annotations: the JSON.
        images: folder of the pictures.
        pngs: folder of the panoptic PNGs.
        suffix: of the pictures, ".jpg" or ".png".
        writer: who asks, for messages.

    Raises:
        ValueError: no annotated frame, a vocabulary that is missing or another, or objects that
            overlap.
    """
    records, infos = [], []
    shared = OneVocabulary(writer)
    for number, still in enumerate(list_stills(samples, shared), start=1):
        records.append(write_image(still, number, images, suffix))
        where = f"{writer}: {still.name}"
        ids, info = paint_segments(still.truth, still.objects, still.vocabulary, where)
        write_panoptic_png(pngs / f"{still.name}.png", ids)
        infos.append({"image_id": number, "file_name": f"{still.name}.png", "segments_info": info})
    content = {
        "images": records,
        "annotations": infos,
        "categories": shared.categories("annotated frame"),
    }
    write_json(annotations, content)


def list_stills(samples: Iterable[VideoSample], shared: OneVocabulary) -> Iterator[Still]:
    """Give every annotated frame of the videos as a picture of its own.

    A picture is called like its video where that has one frame, else ``<video>_<frame>``.

    Raises:
        ValueError: a vocabulary that is missing or another.
    """
    for sample in samples:
        vocabulary = shared.take(sample)
        for t in sample.annotated:
            name = sample.name if sample.num_frames == 1 else f"{sample.name}_{t:05d}"
            frame, truth = sample.read_frame(t), sample.read_truth(t)
            yield Still(name, frame, truth, sample.objects, vocabulary)


def read_images(content: Any, where: str) -> list[ImageRecord]:
    """Return the ``images`` of a JSON file.

    Raises:
        ValueError: a missing field, or two pictures of one name or id.
    """
    records = []
    for i, image in enumerate(typed_field(content, "images", list, where)):
        place = f"{where}: images[{i}]"
        identity = id_field(image, "id", place)
        file_name = typed_field(image, "file_name", str, place)
        if not PurePosixPath(file_name).name:
            raise ValueError(f"{place}: the field 'file_name' must name a file, got {file_name!r}")
        records.append(ImageRecord(identity, file_name, size_fields(image, place)))
    if len({record.name for record in records}) != len(records):
        raise ValueError(f"{where}: images: a file_name occurs twice")
    if len({record.id for record in records}) != len(records):
        raise ValueError(f"{where}: images: an id occurs twice")
    return records


def id_field(record: Any, field: str, where: str) -> int | str:
    """Return a field of a JSON record by which pictures are known, a number or a text.

    Raises:
        ValueError: the field is missing or neither.
    """
    name_field(record, field, where)
    return record[field]


def write_image(still: Still, number: int, images: Path, suffix: str) -> dict[str, Any]:
    """Write the picture and return its record for ``images``."""
    file_name = f"{still.name}{suffix}"
    write_picture(images / file_name, still.frame)
    height, width = still.frame.shape[:2]
    return {"id": number, "file_name": file_name, "height": height, "width": width}
