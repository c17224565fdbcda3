"""The frames of a clip and their annotation, before they become tensors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segblocks.data.clips.clip_rule import CATEGORY_TASKS, ClipChoice
from segblocks.data.sample import Mask, Truth, VideoSample


@dataclass(frozen=True, eq=False)
class ClipArrays:
    """Hold the frames of a clip with what is known of each pixel.

    Args:
        frames: (T, H, W, 3) uint8.
        masks: (O, T, H, W) bool.
        semantic: (T, H, W) int16, or None.
        ignore: (T, H, W) bool, or None.
    """

    frames: NDArray[np.uint8]
    masks: Mask
    semantic: NDArray[np.int16] | None = None
    ignore: Mask | None = None

    @property
    def size(self) -> tuple[int, int]:
        """(H, W)."""
        return self.frames.shape[1], self.frames.shape[2]

    def map_truth(self, function: Callable[[NDArray], NDArray], frames: NDArray) -> ClipArrays:
        """Return other frames with all annotations (..., H, W) put through a function."""
        return ClipArrays(
            frames,
            function(self.masks),
            None if self.semantic is None else function(self.semantic),
            None if self.ignore is None else function(self.ignore),
        )


def read_clip(sample: VideoSample, choice: ClipChoice, task: str, min_area: int) -> ClipArrays:
    """Read the frames that a rule has chosen, and gather their annotation.

    Args:
        sample: the video.
        choice: what to take of it.
        task: decides which annotation there is.
        min_area: an object with fewer pixels in a frame is absent there.

    Raises:
        ValueError: a frame has no semantic map, which VPS and VSS need.
    """
    frames = np.stack([sample.read_frame(t) for t in choice.frames])
    shape = (len(choice.frames), *frames.shape[1:3])
    masks = np.zeros((len(choice.targets), *shape), np.bool_)
    for place, truth in enumerate(choice.truths):
        found = dict(zip(truth.ids, truth.masks, strict=True))
        for target, ids in zip(masks, choice.targets, strict=True):
            for mask in (found[i] for i in ids if i in found):
                if mask.sum() >= min_area:
                    target[place] |= mask
    maps = [truth.semantic for truth in choice.truths if truth.semantic is not None]
    is_complete = len(maps) == len(choice.truths)
    if task in ("vps", "vss") and not is_complete:
        raise ValueError(
            f"video {sample.name!r}: has no semantic maps, which the task {task!r} needs"
        )
    semantic = np.stack(maps) if task in CATEGORY_TASKS and is_complete else None
    ignore = np.stack([_ignored(sample, truth, task) for truth in choice.truths])
    return ClipArrays(frames, masks, semantic, ignore if ignore.any() else None)


def _ignored(sample: VideoSample, truth: Truth, task: str) -> Mask:
    ignore = np.zeros(truth.masks.shape[1:], np.bool_)
    if truth.ignore is not None:
        ignore |= truth.ignore
    # The class of a crowd is known where there are semantic maps; and to hints, which ask for
    # single objects, it is background.
    if task == "vis":
        crowds = {info.id for info in sample.objects if info.is_crowd}
        for identity, mask in zip(truth.ids, truth.masks, strict=True):
            if identity in crowds:
                ignore |= mask
    return ignore
