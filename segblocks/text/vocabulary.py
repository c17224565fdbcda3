"""The class lists of the public datasets, and vocabularies of one's own."""

from __future__ import annotations

import difflib
import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import TypeAlias

_PACKAGE = "segblocks.text"
_FOLDER = "vocabularies"

_Names: TypeAlias = tuple[str, ...]
OwnVocabulary: TypeAlias = tuple[str, _Names] | tuple[str, _Names, tuple[int, ...]]


@dataclass(frozen=True)
class Vocabulary:
    """Name the classes of a dataset, in the order in which models count them.

    A class is known by its index, 0 to K-1, in the order of the official label list. Things are
    countable and tracked one by one; every other class is stuff.

    Args:
        name: what to call the vocabulary in messages.
        classes: K distinct class names.
        things: indices of the classes that are things; None means all of them.
        category_ids: the number of each class in the dataset's own files; None counts from 1.

    Raises:
        ValueError: no classes, a repeated name, a thing index out of range, or another number of
            category ids than classes.
        TypeError: ``classes`` is one string, or holds something other than strings.

    Example:
        >>> vocabulary = Vocabulary("street", ("road", "car", "person"), things={1, 2})
        >>> vocabulary.index("car"), vocabulary.is_thing(0), vocabulary.thing_ids
        (1, False, (1, 2))
    """

    name: str
    classes: tuple[str, ...]
    things: Collection[int] | None = None
    category_ids: Sequence[int] | None = None

    def __post_init__(self) -> None:
        if isinstance(self.classes, str) or not all(isinstance(c, str) for c in self.classes):
            raise TypeError(f"Vocabulary: classes must be strings in a list, got {self.classes!r}")
        classes = tuple(self.classes)
        _check_distinct("classes", classes)
        if not classes:
            raise ValueError("Vocabulary: classes must name at least one class, got none")
        things = frozenset(range(len(classes)) if self.things is None else map(int, self.things))
        if stray := sorted(t for t in things if not 0 <= t < len(classes)):
            raise ValueError(
                f"Vocabulary: things must be indices from 0 to {len(classes) - 1}, got {stray}"
            )
        ids = range(1, len(classes) + 1) if self.category_ids is None else self.category_ids
        if len(ids) != len(classes):
            raise ValueError(
                f"Vocabulary: category_ids must be {len(classes)} numbers, got {len(ids)}"
            )
        object.__setattr__(self, "classes", classes)
        object.__setattr__(self, "things", things)
        object.__setattr__(self, "category_ids", tuple(map(int, ids)))

    def __len__(self) -> int:
        return len(self.classes)

    def __repr__(self) -> str:
        return f"Vocabulary({self.name!r}, {len(self)} classes, {len(self.thing_ids)} things)"

    @property
    def thing_ids(self) -> tuple[int, ...]:
        """The indices of the things, ascending."""
        return tuple(sorted(self.things or ()))

    @property
    def stuff_ids(self) -> tuple[int, ...]:
        """The indices of the classes that are not things, ascending."""
        return tuple(i for i in range(len(self)) if not self.is_thing(i))

    def is_thing(self, index: int) -> bool:
        """Return whether the class at ``index`` is a thing.

        Raises:
            IndexError: there is no such class.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"{self.name}: class index must be 0 to {len(self) - 1}, got {index}")
        return index in (self.things or ())

    def category_id(self, index: int) -> int:
        """Return the number that the dataset's own files give to the class at ``index``."""
        assert self.category_ids is not None
        return self.category_ids[index]

    def index(self, class_name: str) -> int:
        """Return the index of a class.

        Raises:
            ValueError: no class has this name; close matches are listed.
        """
        try:
            return self.classes.index(class_name)
        except ValueError:
            raise ValueError(
                f"{self.name} has no class {class_name!r}{close_matches(class_name, self.classes)}"
            ) from None

    def subset(self, names: Iterable[str]) -> Vocabulary:
        """Keep only some classes, in the order in which they are named.

        Things stay things, and the category ids stay those of the dataset.

        Raises:
            ValueError: an unknown, a repeated, or no name.
            TypeError: ``names`` is one string.
        """
        if isinstance(names, str):
            raise TypeError(f"classes must be a list of class names, got the string {names!r}")
        picked = [self.index(name) for name in names]
        return Vocabulary(
            self.name,
            tuple(self.classes[i] for i in picked),
            {new for new, old in enumerate(picked) if self.is_thing(old)},
            tuple(self.category_id(i) for i in picked),
        )


def list_vocabularies() -> tuple[str, ...]:
    """Return the names that :func:`get_vocabulary` knows, sorted."""
    folder = resources.files(_PACKAGE) / _FOLDER
    names = (entry.name for entry in folder.iterdir())
    return tuple(sorted(name.removesuffix(".json") for name in names if name.endswith(".json")))


@cache
def get_vocabulary(name: str) -> Vocabulary:
    """Return the class list of a public dataset.

    Args:
        name: one of :func:`list_vocabularies`.

    Raises:
        ValueError: no such vocabulary; close matches are listed.

    Example:
        >>> get_vocabulary("kitti_step").classes[:3]
        ('road', 'sidewalk', 'building')
    """
    known = list_vocabularies()
    if name not in known:
        raise ValueError(
            f"there is no vocabulary {name!r}{close_matches(name, known)}; "
            f"known are {', '.join(known)}"
        )
    text = (resources.files(_PACKAGE) / _FOLDER / f"{name}.json").read_text(encoding="utf-8")
    rows: list[tuple[int, str, bool]] = json.loads(text)["classes"]
    ids, classes, thing_flags = zip(*rows, strict=True)
    return Vocabulary(name, classes, {i for i, thing in enumerate(thing_flags) if thing}, ids)


def as_vocabulary(named: str | OwnVocabulary) -> Vocabulary:
    """Return a vocabulary from what can stand in a config file.

    Args:
        named: one of :func:`list_vocabularies`, or for one's own a tuple of a name, the class names
            and, where some are stuff, the indices of the things.

    Raises:
        ValueError: no such vocabulary, or a tuple of other parts.

    Example:
        >>> as_vocabulary(("farm", ("hen", "grass"), (0,)))
        Vocabulary('farm', 2 classes, 1 things)
    """
    if isinstance(named, str):
        return get_vocabulary(named)
    if not isinstance(named, tuple | list) or len(named) not in (2, 3):
        raise ValueError(
            "a vocabulary must be a known name or (name, class names[, indices of the things]), "
            f"got {named!r}"
        )
    return Vocabulary(named[0], tuple(named[1]), named[2] if len(named) == 3 else None)


def _check_distinct(what: str, names: Sequence[str]) -> None:
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"Vocabulary: {what} must be distinct, got {repeated} more than once")


def close_matches(name: str, known: Sequence[str]) -> str:
    """Ask in an error message whether a known name was meant; empty where none is close."""
    close = difflib.get_close_matches(str(name), known, n=3, cutoff=0.5)
    return f"; did you mean {' or '.join(map(repr, close))}?" if close else ""
