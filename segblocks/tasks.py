"""What to segment in a video: every class of a vocabulary, or objects given by hints."""

# Those who use no type checker are told of wrong types when they run.
# pyright: reportUnnecessaryIsInstance=false

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self, cast

from segblocks.hints import HintArrays, HintIds, HintKind, Hints, check_hints, parse_hints
from segblocks.text.vocabulary import Vocabulary, get_vocabulary

__all__ = [
    "EVS",
    "PET",
    "PVOS",
    "UNION",
    "VIS",
    "VOS",
    "VPS",
    "VSS",
    "CategoryTask",
    "HintTask",
    "Hints",
    "RefVOS",
    "Task",
    "as_tasks",
]

UNION = "union"
"""As a vocabulary: all classes of a model that was trained on several vocabularies."""


class Task:
    """Stand for one thing to ask of a model; see the subclasses."""

    name: ClassVar[str]


@dataclass(frozen=True)
class CategoryTask(Task):
    """Find every object or region of some classes.

    Args:
        vocabulary: the name of a public vocabulary, a :class:`Vocabulary`, or a list of class
            names, all of which are then things; or "union", all classes of a model that joins
            vocabularies (TMT-VIS).
        classes: keep only these classes of the vocabulary, in this order.

    Raises:
        ValueError: an unknown vocabulary or class; close matches are listed.
        TypeError: a vocabulary of another kind.
    """

    vocabulary: str | Vocabulary | Sequence[str]
    classes: Sequence[str] | None = None

    def __post_init__(self) -> None:
        # Tuples for lists, so that equal tasks hash alike.
        for name in ("vocabulary", "classes"):
            value = getattr(self, name)
            if isinstance(value, list):
                object.__setattr__(self, name, tuple(cast(list[str], value)))
        if self.vocabulary != UNION:
            self.resolve()

    def resolve(self) -> Vocabulary:
        """Return the classes to look for, after ``classes`` has narrowed the vocabulary.

        Raises:
            ValueError: the vocabulary is "union", which only a model knows that has one.
        """
        if self.vocabulary == UNION:
            raise ValueError(
                f"{type(self).__name__}: the vocabulary {UNION!r} is that of a model that joins "
                "several, such as TMT-VIS; name the vocabulary for any other"
            )
        if isinstance(self.vocabulary, str):
            vocabulary = get_vocabulary(self.vocabulary)
        elif isinstance(self.vocabulary, Vocabulary):
            vocabulary = self.vocabulary
        elif isinstance(self.vocabulary, Sequence):
            vocabulary = Vocabulary("classes", tuple(self.vocabulary))
        else:
            raise TypeError(
                f"{type(self).__name__}: vocabulary must be a name, a Vocabulary or a list of "
                f"class names, got {type(self.vocabulary).__name__}"
            )
        return vocabulary if self.classes is None else vocabulary.subset(self.classes)


@dataclass(frozen=True)
class VIS(CategoryTask):
    """Ask for video instance segmentation: a track for every object of the classes.

    Example:
        >>> VIS("youtube_vis_2021", classes=["dog", "cat"]).resolve().classes
        ('dog', 'cat')
    """

    name: ClassVar[str] = "vis"


@dataclass(frozen=True)
class VPS(CategoryTask):
    """Ask for video panoptic segmentation: tracks for things, and a class for every pixel."""

    name: ClassVar[str] = "vps"


@dataclass(frozen=True)
class VSS(CategoryTask):
    """Ask for video semantic segmentation: a class for every pixel."""

    name: ClassVar[str] = "vss"


class HintTask(Task):
    """Follow objects that are given by masks, points or boxes in one or more frames.

    Attributes:
        hints: frame -> its hints, ascending by frame.
    """

    hints: dict[int, Hints]
    ids: HintIds | None

    def __repr__(self) -> str:
        kinds = "/".join(dict.fromkeys(hints.kind for hints in self.hints.values()))
        frames = ", ".join(map(str, self.hints))
        return f"{type(self).__name__}({len(self.object_ids)} objects, {kinds} in frames {frames})"

    @property
    def object_ids(self) -> tuple[int, ...]:
        """Each object once, in the order of its first hint."""
        return tuple(dict.fromkeys(i for hints in self.hints.values() for i in hints.ids))

    @property
    def first_frame(self) -> int:
        """The first frame that has a hint."""
        return next(iter(self.hints))

    def window(self, start: int, stop: int) -> Self | None:
        """Return the task of the frames ``start`` to ``stop`` (not included), counted from 0.

        Returns:
            The same objects with clip-local frames, or None where the window has no hint.

        Example:
            >>> PET({0: [(4, 4)], 7: [(1, 2)]}).window(6, 12)
            PET(1 objects, point in frames 1)
        """
        inside = {frame: hints for frame, hints in self.hints.items() if start <= frame < stop}
        if not inside:
            return None
        values = {frame - start: hints.values for frame, hints in inside.items()}
        ids = {frame - start: hints.ids for frame, hints in inside.items()}
        field = _FIELD_OF_KIND[next(iter(inside.values())).kind]
        return replace(cast(Any, self), **{field: values, "ids": ids})

    def validate(self, height: int, width: int, *, padded: tuple[int, int] | None = None) -> None:
        """Check the hints against the size of the frames.

        Args:
            height: of the frames.
            width: of the frames.
            padded: (height, width) of the frames with a model's padding; masks may have this size
                as well, since predicted ones reach into the padding.

        Raises:
            ValueError: a mask of another size or without a pixel, a coordinate that is not
                finite, a point outside the frame, or a box that is empty or reaches outside.
        """
        for frame, hints in self.hints.items():
            fits_padded = hints.kind == "mask" and hints.values.shape[1:] == padded
            size = padded if fits_padded and padded is not None else (height, width)
            check_hints(type(self).__name__, frame, hints, *size)

    def _store(self, kind: HintKind, arrays: HintArrays) -> None:
        parsed = parse_hints(type(self).__name__, kind, arrays, self.ids)
        object.__setattr__(self, "hints", parsed)


@dataclass(frozen=True, eq=False, repr=False)
class _MaskTask(HintTask):
    masks: HintArrays
    ids: HintIds | None = None

    def __post_init__(self) -> None:
        self._store("mask", self.masks)


@dataclass(frozen=True, eq=False, repr=False)
class VOS(_MaskTask):
    """Follow objects given by masks (semi-supervised video object segmentation).

    Args:
        masks: (O, H, W) for the first frame, or {frame: (O, H, W)}; boolean, or 0 and 1.
        ids: positive numbers of the objects, in the structure of ``masks``. A repeated id is
            another reference of the same object. By default every mask is a new object,
            counted from 1.

    Raises:
        ValueError: another shape or structure than stated, or values that are neither 0 nor 1.

    Example:
        >>> VOS([[[1, 0]], [[0, 1]]]).object_ids
        (1, 2)
    """

    name: ClassVar[str] = "vos"


@dataclass(frozen=True, eq=False, repr=False)
class PVOS(_MaskTask):
    """Follow things and stuff regions given by masks (panoptic VOS, as in VIPOSeg).

    Args:
        masks: as for :class:`VOS`.
        ids: as for :class:`VOS`.
    """

    name: ClassVar[str] = "pvos"


@dataclass(frozen=True, eq=False, repr=False)
class PET(HintTask):
    """Follow objects given by one point each (point exemplar-guided tracking).

    Args:
        points: (O, 2) for the first frame, or {frame: (O, 2)}: (x, y) in pixels, (0, 0) being
            the centre of the top-left pixel.
        ids: as for :class:`VOS`.

    Example:
        >>> PET([(12, 8), (30.5, 4)], ids=[7, 3]).object_ids
        (7, 3)
    """

    points: HintArrays
    ids: HintIds | None = None
    name: ClassVar[str] = "pet"

    def __post_init__(self) -> None:
        self._store("point", self.points)


@dataclass(frozen=True, eq=False, repr=False)
class EVS(HintTask):
    """Follow objects given by exemplars: masks, boxes or points.

    Args:
        masks: as for :class:`VOS`; scribbles are masks too.
        boxes: (O, 4) or {frame: (O, 4)}: (x0, y0, x1, y1) in pixel edges, half-open.
        points: as for :class:`PET`.
        ids: as for :class:`VOS`.

    Raises:
        ValueError: not exactly one of masks, boxes and points.
    """

    masks: HintArrays | None = None
    boxes: HintArrays | None = None
    points: HintArrays | None = None
    ids: HintIds | None = None
    name: ClassVar[str] = "evs"

    def __post_init__(self) -> None:
        given: list[tuple[HintKind, HintArrays]] = [
            (kind, arrays)
            for kind, field in _FIELD_OF_KIND.items()
            if (arrays := getattr(self, field)) is not None
        ]
        if len(given) != 1:
            got = " and ".join(_FIELD_OF_KIND[kind] for kind, _ in given) or "none"
            raise ValueError(f"EVS: give exactly one of masks, boxes and points, got {got}")
        self._store(*given[0])


@dataclass(frozen=True)
class RefVOS(Task):
    """Follow objects described by expressions, one object an expression.

    Args:
        expressions: sentences such as "the dog on the left", or one sentence.

    Example:
        >>> RefVOS("the red star moving left").object_ids
        (1,)
    """

    expressions: Sequence[str]
    name: ClassVar[str] = "refvos"

    def __post_init__(self) -> None:
        given = (self.expressions,) if isinstance(self.expressions, str) else self.expressions
        expressions = tuple(given)
        if not expressions or not all(isinstance(e, str) and e.strip() for e in expressions):
            raise ValueError(f"RefVOS: expressions must be sentences, got {self.expressions!r}")
        object.__setattr__(self, "expressions", expressions)

    @property
    def object_ids(self) -> tuple[int, ...]:
        """The number of each expression, counted from 1."""
        return tuple(range(1, len(self.expressions) + 1))


def as_tasks(tasks: Task | Sequence[Task]) -> tuple[Task, ...]:
    """Return one task or several as a tuple, checked to go together in one pass.

    Raises:
        ValueError: no task, or more than one of VIS, VPS and VSS.
        TypeError: something that is not a task.
    """
    if not isinstance(tasks, Task | Sequence) or isinstance(tasks, str):
        raise TypeError(f"task must be a task such as VIS(...), or a list of them, got {tasks!r}")
    listed = (tasks,) if isinstance(tasks, Task) else tuple(tasks)
    if not listed:
        raise ValueError("task must be a task or a list of at least one, got an empty list")
    for task in listed:
        if not isinstance(task, Task):
            raise TypeError(f"task must be a segblocks task such as VIS(...), got {task!r}")
    by_class = [type(task).__name__ for task in listed if isinstance(task, CategoryTask)]
    if len(by_class) > 1:
        raise ValueError(f"one pass takes at most one of VIS, VPS and VSS, got {by_class}")
    return listed


_FIELD_OF_KIND: dict[HintKind, str] = {"mask": "masks", "box": "boxes", "point": "points"}
