"""COCO's panoptic format: PNG with id = R + 256 G + 65536 B, and a JSON of what the ids are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from segblocks.data.files import read_ids, write_picture
from segblocks.data.indexed import at_frame, flag_field, int_field, typed_field
from segblocks.data.sample import IGNORE, ObjectInfo, Truth, VideoSample
from segblocks.label_files import id_to_rgb, rgb_to_id
from segblocks.text.vocabulary import Vocabulary, get_vocabulary, list_vocabularies

_MAX_ID = (1 << 24) - 1


class Segments(NamedTuple):
    """Describe the S segments of one picture.

    ``ids`` are their values in the PNG, ascending; ``labels`` indices of their classes in the
    vocabulary; ``crowd`` says which are regions of many objects.
    """

    ids: NDArray[np.int32]
    labels: NDArray[np.int16]
    crowd: NDArray[np.bool_]


@dataclass(frozen=True)
class PanopticPng:
    """Know where the annotation of one frame lies.

    Args:
        path: of the PNG.
        segments: what its ids are.
    """

    path: Path
    segments: Segments


@dataclass(frozen=True)
class PanopticTruth:
    """Read annotations from panoptic PNGs.

    Args:
        frames: annotated frame index -> its file.
        size: (H, W) that all must have.
        vocabulary: of the labels.
    """

    frames: Mapping[int, PanopticPng]
    size: tuple[int, int]
    vocabulary: Vocabulary

    def __call__(self, t: int) -> Truth:
        """Return the annotation of frame ``t``."""
        frame = at_frame(self.frames, t)
        ids = rgb_to_id(read_ids(frame.path, self.size, channels=3))
        return make_truth(ids, frame.segments, self.vocabulary, str(frame.path))


def category_indices(vocabulary: Vocabulary) -> dict[int, int]:
    """Return category id of the dataset's files -> class index."""
    return {vocabulary.category_id(i): i for i in range(len(vocabulary))}


def read_categories(
    content: Any, official: str | None, where: str, *, name: str | None = None
) -> Vocabulary:
    """Return the vocabulary that the ``categories`` of a JSON file describe.

    Args:
        content: the file; each category has ``id``, ``name`` and, where there is stuff,
            ``isthing``.
        official: the vocabulary that they are, as a rule; it is returned where they say the same.
        where: the file, for messages.
        name: of the vocabulary; None makes one of the file's.

    Raises:
        ValueError: a missing field, or a repeated name or id.
    """
    categories = typed_field(content, "categories", list, where)
    ids, classes, things = [], [], set()
    for i, category in enumerate(categories):
        place = f"{where}: categories[{i}]"
        ids.append(int_field(category, "id", place))
        classes.append(typed_field(category, "name", str, place))
        if flag_field(category, "isthing", place, default=True):
            things.add(i)
    if len(set(ids)) != len(ids):
        raise ValueError(f"{where}: categories: an id occurs twice")
    try:
        name = name or f"categories of {Path(where).name}"
        vocabulary = Vocabulary(name, tuple(classes), things, ids)
    except ValueError as error:
        raise ValueError(f"{where}: categories: {error}") from error
    if (
        official in list_vocabularies()
        and official
        and _same(vocabulary, known := get_vocabulary(official))
    ):
        return known
    return vocabulary


def choose_vocabulary(
    vocabulary: str | Vocabulary | None,
    content: Any,
    official: str | None,
    where: str,
    *,
    name: str | None = None,
) -> Vocabulary:
    """Return the vocabulary of a JSON file.

    Args:
        vocabulary: the classes, or what they are called, whose category ids are those of the file;
            None takes the categories of the file.
        content: the file.
        official: the vocabulary that the categories are, as a rule; it is returned where the file
            says the same.
        where: the file, for messages.
        name: of the vocabulary that is made of the file's categories; None makes one.

    Raises:
        ValueError: broken categories, or less than half of them are what the vocabulary calls them.
    """
    if vocabulary is None:
        return read_categories(content, official, where, name=name)
    known = find_vocabulary(vocabulary)
    ours = {known.category_id(i): text for i, text in enumerate(known.classes)}
    names: dict[int, str] = {}
    for i, category in enumerate(typed_field(content, "categories", list, where)):
        place = f"{where}: categories[{i}]"
        number = int_field(category, "id", place)
        names[number] = typed_field(category, "name", str, place)
    # Spellings differ between releases, but most names must agree.
    agreed = sum(_plain(text) == _plain(ours.get(i, "")) for i, text in names.items())
    if 2 * agreed < len(names):
        raise ValueError(
            f"{where}: {agreed} of {len(names)} categories are what {known.name} calls them: the "
            f"file has {list(names.values())[:5]}, {known.name} has {list(ours.values())[:5]}; "
            "give another vocabulary=, or None to take the classes of the file"
        )
    return known


def find_vocabulary(vocabulary: str | Vocabulary) -> Vocabulary:
    """Return a vocabulary that may be given by name."""
    return get_vocabulary(vocabulary) if isinstance(vocabulary, str) else vocabulary


def write_categories(vocabulary: Vocabulary) -> list[dict[str, Any]]:
    """Return the ``categories`` of a JSON file, the inverse of `read_categories`."""
    return [
        {"id": vocabulary.category_id(i), "name": name, "isthing": int(vocabulary.is_thing(i))}
        for i, name in enumerate(vocabulary.classes)
    ]


def parse_segments(records: Iterable[Any], indices: Mapping[int, int], where: str) -> Segments:
    """Return what ``segments_info`` of a JSON file says.

    Args:
        records: of one picture, each with ``id``, ``category_id`` and perhaps ``iscrowd``.
        indices: category id -> class index.
        where: file and place, for messages.

    Raises:
        ValueError: a missing field, an id out of range or repeated, or one without a category.
    """
    rows = []
    for i, record in enumerate(records):
        place = f"{where}: segments_info[{i}]"
        category = int_field(record, "category_id", place)
        if category not in indices:
            raise ValueError(f"{place}: category_id {category} is not among the categories")
        identity = int_field(record, "id", place)
        if not 0 < identity <= _MAX_ID:
            raise ValueError(f"{place}: id must lie in 1..{_MAX_ID}, got {identity}")
        crowd = flag_field(record, "iscrowd", place, default=False)
        rows.append((identity, indices[category], crowd))
    rows.sort()
    table = np.array(rows, dtype=np.int32).reshape(-1, 3)
    if (np.diff(table[:, 0]) == 0).any():
        raise ValueError(f"{where}: segments_info: an id occurs twice")
    return Segments(table[:, 0], table[:, 1].astype(np.int16), table[:, 2] != 0)


def collect_objects(
    frames: Iterable[Segments], vocabulary: Vocabulary, where: str
) -> tuple[ObjectInfo, ...]:
    """Return the things of a video, ascending by id; an id means the same object in all frames.

    Raises:
        ValueError: an id has one class in one frame and another in another.
    """
    found: dict[int, ObjectInfo] = {}
    for segments in frames:
        for identity, label, crowd in zip(*map(np.ndarray.tolist, segments), strict=True):
            if not vocabulary.is_thing(label):
                continue
            known = found.setdefault(identity, ObjectInfo(identity, label, crowd))
            if known.label != label:
                raise ValueError(
                    f"{where}: id {identity} is {vocabulary.classes[known.label or 0]!r} in one "
                    f"frame and {vocabulary.classes[label]!r} in another"
                )
            if crowd and not known.is_crowd:
                found[identity] = ObjectInfo(identity, label, is_crowd=True)
    return tuple(found[identity] for identity in sorted(found))


def make_truth(
    ids: NDArray[np.integer], segments: Segments, vocabulary: Vocabulary, where: str
) -> Truth:
    """Make the annotation of a frame from a map of segment ids.

    Things become objects; all segments become the semantic map. Id 0 is not labelled: ``IGNORE``
    in the semantic map, True in ``ignore``. A segment without a pixel is left out.

    Args:
        ids: (H, W).
        segments: all of the map's.
        vocabulary: of the labels.
        where: the file, for messages.

    Raises:
        ValueError: the map has an id that is no segment.
    """
    void = ids == 0
    places = np.searchsorted(segments.ids, ids)
    padded = np.append(segments.ids, -1)
    if (stray := ~void & (padded[places] != ids)).any():
        raise ValueError(
            f"{where}: the picture has the id {int(ids[stray][0])}, which has no category: "
            "segments_info does not list it"
        )
    semantic = np.append(segments.labels, np.int16(IGNORE))[places]
    semantic[void] = IGNORE
    is_thing = [vocabulary.is_thing(label) for label in segments.labels.tolist()]
    shown = np.bincount(places[~void], minlength=len(is_thing))
    kept = [i for i, thing in enumerate(is_thing) if thing and shown[i]]
    masks = (places == np.array(kept, dtype=np.intp)[:, None, None]) & ~void
    return Truth(tuple(segments.ids[kept].tolist()), masks, semantic, void if void.any() else None)


def same_vocabulary(sample: VideoSample, earlier: Vocabulary | None, writer: str) -> Vocabulary:
    """Return the vocabulary of a sample that is to be written.

    Args:
        sample: the sample.
        earlier: what the samples before it have, None for the first.
        writer: who asks, for messages.

    Raises:
        ValueError: it has none, or another one than those before it.
    """
    if sample.vocabulary is None:
        raise ValueError(f"{writer}: {sample.name} has no vocabulary")
    if earlier is not None and not _same(sample.vocabulary, earlier):
        raise ValueError(
            f"{writer}: all samples must have one vocabulary, {sample.name} has "
            f"{sample.vocabulary!r} and those before it {earlier!r}"
        )
    return sample.vocabulary


class OneVocabulary:
    """Hold samples that are written together to one vocabulary.

    Args:
        writer: who asks, for messages.
    """

    def __init__(self, writer: str) -> None:
        self.writer = writer
        self._vocabulary: Vocabulary | None = None

    def take(self, sample: VideoSample) -> Vocabulary:
        """Return the vocabulary of the next sample.

        Raises:
            ValueError: it has none, or another one than those before it.
        """
        self._vocabulary = same_vocabulary(sample, self._vocabulary, self.writer)
        return self._vocabulary

    def categories(self, what: str = "sample") -> list[dict[str, Any]]:
        """Return the ``categories`` of the JSON file; see `write_categories`.

        Args:
            what: was to be written, for the message.

        Raises:
            ValueError: nothing was.
        """
        if self._vocabulary is None:
            raise ValueError(f"{self.writer}: there must be at least one {what}, got none")
        return write_categories(self._vocabulary)


def thing_label(info: ObjectInfo, vocabulary: Vocabulary, where: str) -> int:
    """Return the class index of an object for layouts in which only things are objects.

    Raises:
        ValueError: it has no class, or one of stuff; ``where`` is named.
    """
    if info.label is None or not vocabulary.is_thing(info.label):
        raise ValueError(f"{where}: object {info.id} must be of a thing class")
    return info.label


def paint_segments(
    truth: Truth, objects: Sequence[ObjectInfo], vocabulary: Vocabulary, where: str
) -> tuple[NDArray[np.int64], list[dict[str, Any]]]:
    """Turn an annotation into a map of segment ids and its ``segments_info``.

    Objects keep their ids. Each stuff class gets a number that no object of the video has, the
    same in every frame. A thing that the semantic map shows where no object is becomes a crowd.

    Args:
        truth: of one frame.
        objects: all of the video's.
        vocabulary: of the labels.
        where: video and frame, for messages.

    Returns:
        (H, W) ids, 0 where nothing is labelled, and the records.

    Raises:
        ValueError: objects that overlap, that have no label, or with ids out of range.
    """
    known = {info.id: info for info in objects}
    if truth.masks.sum(axis=0).max(initial=0) > 1:
        raise ValueError(f"{where}: objects overlap, which a panoptic annotation cannot hold")
    size = truth.masks.shape[1:]
    ids = np.zeros(size, np.int64)
    labels: dict[int, tuple[int, bool]] = {}
    free = _free_ids(known, len(vocabulary))
    if truth.semantic is not None:
        for label in np.unique(truth.semantic[truth.semantic >= 0]).tolist():
            ids[truth.semantic == label] = free[label]
            labels[free[label]] = (label, vocabulary.is_thing(label))
    for identity, mask in zip(truth.ids, truth.masks, strict=True):
        info = known.get(identity)
        if info is None or info.label is None or not 0 < identity <= _MAX_ID:
            raise ValueError(
                f"{where}: object {identity} must have a label and an id in 1..{_MAX_ID}"
            )
        ids[mask] = identity
        labels[identity] = (info.label, info.is_crowd)
    return ids, [
        describe_segment(identity, ids == identity, vocabulary.category_id(label), crowd)
        for identity, (label, crowd) in sorted(labels.items())
        if (ids == identity).any()
    ]


def describe_segment(
    identity: int, mask: NDArray[np.bool_], category_id: int, crowd: bool
) -> dict[str, Any]:
    """Return one record of ``segments_info``; the mask must have a pixel."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    left, top = int(columns[0]), int(rows[0])
    return {
        "id": identity,
        "category_id": category_id,
        "area": int(mask.sum()),
        "bbox": [left, top, int(columns[-1]) + 1 - left, int(rows[-1]) + 1 - top],
        "iscrowd": int(crowd),
    }


def write_panoptic_png(path: Path, ids: NDArray[np.integer]) -> None:
    """Write a map of segment ids (H, W) as PNG; folders are made."""
    write_picture(path, id_to_rgb(ids))


def _free_ids(taken: Iterable[int], count: int) -> list[int]:
    """The ``count`` smallest numbers from 1 that are not taken."""
    used = set(taken)
    numbers = range(1, count + len(used) + 1)
    return [number for number in numbers if number not in used][:count]


def _plain(name: str) -> str:
    return name.casefold().replace("_", " ")


def _same(a: Vocabulary, b: Vocabulary) -> bool:
    return (a.classes, a.thing_ids, a.category_ids) == (b.classes, b.thing_ids, b.category_ids)
