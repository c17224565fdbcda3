"""Hints: the masks, points or boxes by which a user points at objects of a video."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, Literal, TypeAlias, cast

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

HintKind: TypeAlias = Literal["mask", "point", "box"]
HintArrays: TypeAlias = "ArrayLike | Tensor | Mapping[int, ArrayLike | Tensor]"
HintIds: TypeAlias = "Sequence[int] | Mapping[int, Sequence[int]]"


@dataclass(frozen=True, eq=False)
class Hints:
    """Hold the hints of one frame.

    Args:
        kind: what the values are.
        values: masks (O, H, W) bool; points (O, 2) as (x, y), float64, in pixels with (0, 0) the
            centre of the top-left pixel; or boxes (O, 4) as (x0, y0, x1, y1), float64, in pixel
            edges, half-open.
        ids: the object of each hint; an id may repeat where an object has several hints.
    """

    kind: HintKind
    values: NDArray[Any]
    ids: tuple[int, ...]

    def tensor(self) -> Tensor:
        """Return the values as a tensor on the CPU, which may share their memory."""
        return torch.as_tensor(np.ascontiguousarray(self.values))

    def __len__(self) -> int:
        return len(self.ids)


def parse_hints(
    task: str, kind: HintKind, arrays: HintArrays, ids: HintIds | None
) -> dict[int, Hints]:
    """Read hints in any accepted form into one :class:`Hints` a frame, ascending by frame.

    Args:
        task: the public class, named in errors.
        kind: what the arrays hold.
        arrays: an array, tensor or list for frame 0, or {frame: array}.
        ids: in the structure of ``arrays``; None numbers the hints from 1 over the frames.

    Raises:
        ValueError: another shape or structure, no hint, or ids that are not positive integers.
    """
    framed = arrays if isinstance(arrays, Mapping) else {0: arrays}
    if ids is not None and isinstance(ids, Mapping) != isinstance(arrays, Mapping):
        raise ValueError(f"{task}: ids must have the structure of the {kind} hints, got {ids!r}")
    framed_ids = {0: ids} if not isinstance(ids, Mapping) else ids
    if ids is not None and set(framed_ids) != set(framed):
        raise ValueError(
            f"{task}: ids must name the frames {sorted(framed)}, got {sorted(framed_ids)}"
        )
    if not framed:
        raise ValueError(f"{task}: {kind} hints must name at least one frame, got none")
    fresh = count(1)
    hints: dict[int, Hints] = {}
    for frame in sorted(framed):
        if isinstance(frame, bool) or int(frame) != frame or frame < 0:
            raise ValueError(f"{task}: frames must be integers from 0, got {frame!r}")
        values = _PARSERS[kind](task, framed[frame])
        if len(values) == 0:
            raise ValueError(f"{task}: frame {frame} must have at least one {kind}, got none")
        named = None if ids is None else framed_ids[frame]
        hints[int(frame)] = Hints(kind, values, _parse_ids(task, named, len(values), fresh))
    return hints


def check_hints(task: str, frame: int, hints: Hints, height: int, width: int) -> None:
    """Raise ValueError unless every hint fits a frame of this size; ``task`` names the caller."""
    check = _CHECKS[hints.kind]
    for value, object_id in zip(hints.values, hints.ids, strict=True):
        if problem := check(value, height, width):
            raise ValueError(
                f"{task}: {hints.kind} of object {object_id} in frame {frame} {problem}"
            )


def _parse_ids(
    task: str, ids: Sequence[int] | None, num: int, fresh: count[int]
) -> tuple[int, ...]:
    if ids is None:
        return tuple(next(fresh) for _ in range(num))
    listed = _to_numpy(ids)
    if listed.shape != (num,) or not np.issubdtype(listed.dtype, np.integer) or listed.min() < 1:
        raise ValueError(f"{task}: ids must be {num} integers from 1, got {ids!r}")
    return tuple(int(i) for i in listed)


def _parse_masks(task: str, given: ArrayLike | Tensor) -> NDArray[np.bool_]:
    masks = _to_numpy(given)
    if masks.dtype != np.bool_ and not ((masks == 0) | (masks == 1)).all():
        raise ValueError(
            f"{task}: masks must be boolean (O, H, W), got {masks.shape} {masks.dtype} with values "
            "other than 0 and 1; split a label map by segblocks.ops.masks_from_label_map, and "
            "threshold soft masks"
        )
    if masks.ndim != 3:
        raise ValueError(
            f"{task}: masks must be (O, H, W), got {masks.shape}; one mask is masks[None], and "
            "segblocks.ops.masks_from_label_map splits a label map"
        )
    return masks.astype(np.bool_, copy=False)


def _parse_coordinates(num: int, what: str) -> Callable[[str, ArrayLike | Tensor], NDArray[Any]]:
    def parse(task: str, given: ArrayLike | Tensor) -> NDArray[np.float64]:
        values = _to_numpy(given)
        if values.ndim != 2 or values.shape[1] != num or values.dtype.kind not in "iuf":
            raise ValueError(f"{task}: {what}, got {values.shape} {values.dtype}")
        return values.astype(np.float64)

    return parse


def _to_numpy(given: Any) -> NDArray[Any]:
    if isinstance(given, Tensor):
        return given.detach().cpu().numpy()
    if _holds_tensors(given):
        return np.stack([_to_numpy(item) for item in given])
    return np.asarray(given)


def _holds_tensors(given: Any) -> bool:
    parts = cast(Sequence[Any], given) if isinstance(given, list | tuple) else ()
    return any(isinstance(part, Tensor) for part in parts)


def _check_mask(mask: NDArray[np.bool_], height: int, width: int) -> str | None:
    if mask.shape != (height, width):
        return f"must have the size of the frames, {(height, width)}, got {mask.shape}"
    return None if mask.any() else "must have at least one pixel, got an empty mask"


def _check_point(point: NDArray[np.float64], height: int, width: int) -> str | None:
    x, y = map(float, point)
    if not np.isfinite(point).all():
        return f"must be finite, got {(x, y)}"
    # Pixel centres lie on integers, so the frame begins half a pixel before the first centre.
    if -0.5 <= x < width - 0.5 and -0.5 <= y < height - 0.5:
        return None
    return f"must lie inside the {width}x{height} frame, got {(x, y)}"


def _check_box(box: NDArray[np.float64], height: int, width: int) -> str | None:
    x0, y0, x1, y1 = map(float, box)
    if not np.isfinite(box).all():
        return f"must be finite, got {(x0, y0, x1, y1)}"
    if x0 >= x1 or y0 >= y1:
        return f"must be (x0, y0, x1, y1) with x0 < x1 and y0 < y1, got {(x0, y0, x1, y1)}"
    if x0 < 0 or y0 < 0 or x1 > width or y1 > height:
        return f"must lie inside the {width}x{height} frame, got {(x0, y0, x1, y1)}"
    return None


_PARSERS: dict[HintKind, Callable[[str, ArrayLike | Tensor], NDArray[Any]]] = {
    "mask": _parse_masks,
    "point": _parse_coordinates(2, "points must be (O, 2) numbers, (x, y) in pixels"),
    "box": _parse_coordinates(4, "boxes must be (O, 4) numbers, (x0, y0, x1, y1)"),
}
_CHECKS: dict[HintKind, Callable[[NDArray[Any], int, int], str | None]] = {
    "mask": _check_mask,
    "point": _check_point,
    "box": _check_box,
}
