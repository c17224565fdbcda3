"""What a model is asked of a clip."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segblocks.data.clips.clip_rule import ClipRule
from segblocks.data.sample import Mask
from segblocks.data.synthetic.points import inner_point
from segblocks.hints import HintKind
from segblocks.tasks import EVS, PET, PVOS, VIS, VOS, VPS, VSS, Task
from segblocks.text.vocabulary import Vocabulary

_BY_CLASS = {"vis": VIS, "vps": VPS, "vss": VSS}

# For each task, how its objects may be given; tasks of a clip come in this order.
_BY_HINT: dict[str, dict[HintKind, Callable[..., Task]]] = {
    "vos": {"mask": VOS, "point": PET},
    "pvos": {"mask": PVOS},
    "pet": {"point": PET},
    "evs": {"mask": EVS, "point": EVS, "box": EVS},
}
_FIELDS = {"mask": "masks", "point": "points", "box": "boxes"}


def ask_by_class(task: str, vocabulary: Vocabulary | None, name: str) -> tuple[Task, ...]:
    """Return the task that asks for the classes of a vocabulary.

    Raises:
        ValueError: there is none; ``name`` is the video's.
    """
    if vocabulary is None:
        raise ValueError(f"video {name!r}: has no classes, which the task {task!r} needs")
    return (_BY_CLASS[task](vocabulary),)


def ask_by_hint(
    rng: np.random.Generator,
    task: str,
    rule: ClipRule,
    reference: int,
    masks: Mask,
    ids: Sequence[int],
) -> tuple[tuple[Task, ...], list[int]]:
    """Draw how each object is given, and return the tasks that give them so.

    Args:
        rng: the source of chance.
        task: "vos", "pvos", "pet" or "evs".
        rule: how often points and boxes are drawn.
        reference: frame of the clip in which the objects are given.
        masks: (O, H, W) of the objects in that frame, none empty.
        ids: of the objects.

    Returns:
        The tasks, one for each kind of hint that was drawn, and the order in which they name
        the objects.
    """
    makers = _BY_HINT[task]
    kinds = [_draw_kind(rng, rule, tuple(makers)) for _ in ids]
    tasks, order = [], []
    for kind, maker in makers.items():
        chosen = [i for i, drawn in enumerate(kinds) if drawn == kind]
        if chosen:
            values = np.stack([_HINTS[kind](rng, masks[i]) for i in chosen])
            named = {reference: [ids[i] for i in chosen]}
            tasks.append(maker(**{_FIELDS[kind]: {reference: values}, "ids": named}))
            order += chosen
    return tuple(tasks), order


def _draw_kind(rng: np.random.Generator, rule: ClipRule, kinds: Sequence[HintKind]) -> HintKind:
    chance = rng.random()
    if len(kinds) == 1:
        return kinds[0]
    if chance < rule.point_share:
        return "point"
    return "box" if "box" in kinds and chance < rule.point_share + rule.box_share else "mask"


def _mask(rng: np.random.Generator, mask: Mask) -> Mask:
    return mask


def _point(rng: np.random.Generator, mask: Mask) -> NDArray[np.float64]:
    return np.array(inner_point(mask, rng))


def _box(rng: np.random.Generator, mask: Mask) -> NDArray[np.float64]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    edges = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
    return np.array(edges, np.float64)


_HINTS: dict[str, Callable[[np.random.Generator, Mask], NDArray[Any]]] = {
    "mask": _mask,
    "point": _point,
    "box": _box,
}
