"""What the readers of all layouts share: videos by number, splits, fields of JSON records."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from segblocks.data.files import get_field
from segblocks.data.sample import VideoSample
from segblocks.text.vocabulary import Vocabulary

T = TypeVar("T")

#: What a split is called by some dataset or other.
_SPLIT_NAMES = {"val": ("valid", "val"), "valid": ("valid", "val")}


class IndexedVideos(ABC):
    """Videos by number; what a reader has to add is `_read`.

    Args:
        name: of the dataset.
        task: what it is made for.
        names: of the videos, in order.
        vocabulary: of its classes, or None.
    """

    def __init__(
        self, name: str, task: str, names: Iterable[str], vocabulary: Vocabulary | None = None
    ) -> None:
        self.name = name
        self.task = task
        self.names = tuple(names)
        self.vocabulary = vocabulary

    @property
    def classes(self) -> Vocabulary:
        """The vocabulary of a dataset that has one.

        Raises:
            ValueError: it has none.
        """
        if self.vocabulary is None:
            raise ValueError(f"{self.name} has no classes")
        return self.vocabulary

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> VideoSample:
        """Return a video, whose frames and annotations are read when asked for.

        Raises:
            IndexError: there is no such video.
        """
        if not -len(self) <= index < len(self):
            raise IndexError(f"{self.name} has {len(self)} videos, got index {index}")
        return self._read(index % len(self))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, {len(self)} videos)"

    @abstractmethod
    def _read(self, index: int) -> VideoSample: ...


def split_names(split: str) -> tuple[str, ...]:
    """Return what folders and files of a split are called, the likeliest first.

    Example:
        >>> split_names("val"), split_names("train")
        (('valid', 'val'), ('train',))
    """
    return _SPLIT_NAMES.get(split, (split,))


def val_split(split: str) -> str:
    """Return the name of a split in layouts that never say "valid"."""
    return "val" if split == "valid" else split


def at_frame(frames: Mapping[int, T], t: int) -> T:
    """Return what belongs to frame ``t``.

    Raises:
        ValueError: the frame is not annotated.
    """
    if t not in frames:
        raise ValueError(f"frame {t} has no annotation; annotated are {sorted(frames)}")
    return frames[t]


def split_places(places: Iterable[str], split: str) -> list[str]:
    """Fill ``{split}`` in the places where a layout may keep something.

    Example:
        >>> split_places(["{split}.json"], "val")
        ['valid.json', 'val.json']
    """
    filled = [place.format(split=name) for place in places for name in split_names(split)]
    return list(dict.fromkeys(filled))


def split_folder(root: Path, split: str) -> Path:
    """Return the folder of a split.

    Raises:
        FileNotFoundError: there is none; the message lists what is there instead.
    """
    for name in split_names(split):
        if (root / name).is_dir():
            return root / name
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: no such folder")
    known = sorted(path.name for path in root.iterdir() if path.is_dir())
    raise FileNotFoundError(
        f"{root}: no folder {' or '.join(split_names(split))} for the split {split!r}; "
        f"there are {', '.join(known) or 'no folders'}"
    )


def typed_field(record: Any, field: str, kind: type[T], where: str) -> T:
    """Return a field of a JSON record that must be of one type.

    Args:
        record: what should be an object.
        field: the key.
        kind: such as ``list``.
        where: file and place of the record, for the message.

    Raises:
        ValueError: the field is missing or of another type.
    """
    value = get_field(record, field, where)
    # JSON's true is no number, though Python's is.
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise ValueError(
            f"{where}: the field {field!r} must be of type {kind.__name__}, "
            f"got {type(value).__name__}"
        )
    return value


def to_int(value: Any, where: str) -> int:
    """Return a number that JSON had to write as text, as it does for keys.

    Raises:
        ValueError: it is no whole number.
    """
    try:
        number = int(value)
    except (TypeError, ValueError, OverflowError):
        number = None
    if number is None or (isinstance(value, float) and number != value):
        raise ValueError(f"{where}: expected a whole number, got {value!r:.80}")
    return number


def int_field(record: Any, field: str, where: str) -> int:
    """Return a field of a JSON record that holds a whole number, perhaps as text.

    Raises:
        ValueError: the field is missing or no whole number.
    """
    return to_int(get_field(record, field, where), f"{where}: the field {field!r}")


def flag_field(record: Mapping[str, Any], field: str, where: str, *, default: bool) -> bool:
    """Return a field of a JSON record that is 0 or 1, or what it is where it is missing.

    Raises:
        ValueError: it is no whole number.
    """
    return bool(to_int(record.get(field, default), f"{where}: the field {field!r}"))


def name_field(record: Any, field: str, where: str) -> str:
    """Return a field of a JSON record that names something, by text or by number.

    Raises:
        ValueError: the field is missing or neither.
    """
    value = get_field(record, field, where)
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        raise ValueError(
            f"{where}: the field {field!r} must be a text or a whole number, got {value!r:.80}"
        )
    return str(value)


def size_fields(record: Any, where: str) -> tuple[int, int]:
    """Return the fields ``height`` and ``width`` of a JSON record.

    Raises:
        ValueError: one is missing or no positive whole number.
    """
    height, width = (typed_field(record, side, int, where) for side in ("height", "width"))
    if min(height, width) < 1:
        raise ValueError(
            f"{where}: the fields 'height' and 'width' must be positive, got {height} and {width}"
        )
    return height, width


def list_field(
    record: Any, field: str, kind: type[T], where: str, *, optional: bool = False
) -> list[T]:
    """Return a field of a JSON record that must be a list of things of one type.

    Args:
        record: what should be an object.
        field: the key.
        kind: of each entry.
        where: file and place of the record, for the message.
        optional: take a missing field, or null, for an empty list.

    Raises:
        ValueError: the field is missing, no list, or holds something else.
    """
    if optional and isinstance(record, Mapping) and record.get(field) is None:
        return []
    values = typed_field(record, field, list, where)
    for i, value in enumerate(values):
        typed_field({f"{field}[{i}]": value}, f"{field}[{i}]", kind, where)
    return values
