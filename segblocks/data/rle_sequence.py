"""The objects of a video as run-length encoded masks or polygons from a JSON file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from segblocks._optional import require
from segblocks.data.sample import Mask, Truth
from segblocks.ops.rle import decode, from_coco


@dataclass(frozen=True)
class RLEMasks:
    """Read which objects a frame shows, from masks in the forms that COCO knows.

    Args:
        segments: annotated frame -> object id -> ``{"size", "counts"}`` with compressed or plain
            run lengths, or a list of polygons.
        size: (H, W) of the frames.
        where: file and video, for messages.
    """

    segments: Mapping[int, Mapping[int, Any]]
    size: tuple[int, int]
    where: str

    def __call__(self, t: int) -> Truth:
        """Return the annotation of frame ``t``; an object whose mask is empty is not in it.

        Raises:
            ValueError: frame ``t`` is not annotated, or a mask is broken or of another size.
            ImportError: polygons, without pycocotools.
        """
        if t not in self.segments:
            raise ValueError(
                f"{self.where}: frame {t} has no annotation; annotated are {sorted(self.segments)}"
            )
        masks: dict[int, Mask] = {}
        for number, segment in sorted(self.segments[t].items()):
            mask = self._decode(segment, f"{self.where}: object {number} in frame {t}")
            if mask.any():
                masks[number] = mask
        stack = np.stack(list(masks.values())) if masks else np.zeros((0, *self.size), np.bool_)
        return Truth(tuple(masks), stack)

    def _decode(self, segment: Any, where: str) -> Mask:
        if isinstance(segment, list):
            return _fill_polygons(segment, self.size, where)
        try:
            rle = from_coco(segment)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{where}: not a run-length encoded mask ({error})") from error
        if rle.size != self.size:
            raise ValueError(
                f"{where}: expected a mask of {self.size[0]}x{self.size[1]} (height x width) like "
                f"the frames, got {rle.size[0]}x{rle.size[1]}"
            )
        return decode(rle)


def pack_counts(record: dict[str, Any]) -> dict[str, Any]:
    """Replace plain run lengths by an array, a tenth of their size; for ``json.load``."""
    counts = record.get("counts")
    if isinstance(counts, list) and all(type(c) is int and 0 <= c < 1 << 32 for c in counts):
        record["counts"] = np.array(counts, dtype=np.uint32)
    return record


def _fill_polygons(polygons: list[Any], size: tuple[int, int], where: str) -> Mask:
    """Fill polygons as COCO's own tools do, whose rule at the borders is nobody else's."""
    mask_tools = require("pycocotools.mask", "eval")
    parts = [
        part
        for part in polygons
        if isinstance(part, list) and len(part) >= 6 and {type(x) for x in part} <= {int, float}
    ]
    if len(parts) != len(polygons):
        raise ValueError(f"{where}: a polygon needs a list of at least three points x, y")
    if not parts:
        return np.zeros(size, np.bool_)
    return mask_tools.decode(mask_tools.merge(mask_tools.frPyObjects(parts, *size))) > 0
