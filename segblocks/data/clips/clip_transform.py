"""Crop, resize, mirror and recolour all frames of a clip alike, and move the light over them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torchvision.transforms.v2 import functional as F

from segblocks.data.clips.clip_arrays import ClipArrays
from segblocks.data.color_jitter import RandomColors
from segblocks.data.frame_transform import fit_sides
from segblocks.data.pseudo_video import ColorFunction

LightFunction = Callable[[np.random.Generator, NDArray[np.uint8]], NDArray[np.uint8]]
"""From chance and frames (T, H, W, 3) to frames in another light."""

_COLORS = RandomColors()


@dataclass(frozen=True, kw_only=True)
class ClipTransform:
    """Change how a clip looks, the same way in all its frames but for the light.

    TarViS (Athar et al., CVPR 2023, and its code) crops clips before resizing where it asks for
    classes, and afterwards, keeping all objects of the reference frame whole, where it asks for
    hinted ones. Its crops are (0.75, 0.75) for VIS and VOS, (0.75, 0.5) for KITTI-STEP and VIPSeg
    and (0.5, 0.5) for Cityscapes-VPS; its short sides 448 and 512 for YouTube-VIS, both with 1024
    as the greatest long side, 512 for OVIS, VIPSeg, BURST and DAVIS, 320 for KITTI-STEP and 448 for
    Cityscapes-VPS.

    Args:
        short_sides: to one of which clips are resized; None leaves their size.
        long_side: which resizing does not pass.
        crop: height and width of the window as shares of the frame, or None. Where no window
            keeps enough of the objects, the frame is left whole.
        keep: share of the pixels of all objects in all frames that a window must keep.
        flip: chance of mirroring.
        colors: how colours change, for all frames alike, or None for not at all.
        light: how the light changes from frame to frame, such as by
            :class:`~segblocks.data.clips.ChangingLight`, or None for not at all.

    Raises:
        ValueError: a side, share or chance out of range.

    Example:
        >>> arrays = ClipArrays(np.zeros((3, 48, 64, 3), np.uint8), np.ones((1, 3, 48, 64), bool))
        >>> transform = ClipTransform(short_sides=(32,), crop=(0.5, 0.75))
        >>> transform(np.random.default_rng(0), arrays).frames.shape
        (3, 32, 64, 3)
    """

    short_sides: tuple[int, ...] | None = None
    long_side: int = 1333
    crop: tuple[float, float] | None = None
    keep: float = 0.25
    flip: float = 0.5
    colors: ColorFunction | None = _COLORS
    light: LightFunction | None = None

    def __post_init__(self) -> None:
        sides = (self.long_side, *(self.short_sides or (1,)))
        if min(sides) < 1 or self.short_sides == ():
            raise ValueError(
                "ClipTransform: short_sides and long_side must be positive, "
                f"got {self.short_sides} and {self.long_side}"
            )
        if self.crop is not None and not all(0 < share <= 1 for share in self.crop):
            raise ValueError(f"ClipTransform: crop must lie in (0, 1], got {self.crop}")
        if not (0 <= self.keep <= 1 and 0 <= self.flip <= 1):
            raise ValueError(
                f"ClipTransform: keep and flip must lie in [0, 1], got {self.keep} and {self.flip}"
            )

    def __call__(
        self, rng: np.random.Generator, arrays: ClipArrays, *, reference: int | None = None
    ) -> ClipArrays:
        """Return the changed clip.

        Args:
            rng: the source of chance.
            arrays: the clip.
            reference: place of the frame whose objects cropping must keep whole; None keeps
                ``keep`` of the objects in all frames.
        """
        if reference is None:
            arrays = self._crop(rng, arrays, arrays.masks.any(axis=0).sum(axis=0), self.keep)
        if self.short_sides is not None:
            side = int(rng.choice(self.short_sides))
            arrays = resize_clip(arrays, fit_sides(arrays.size, side, self.long_side))
        if reference is not None:
            arrays = self._crop(rng, arrays, arrays.masks[:, reference].sum(axis=0), 1.0)
        if rng.random() < self.flip:
            arrays = arrays.map_truth(lambda a: a[..., ::-1], arrays.frames[:, :, ::-1])
        if self.colors is not None:
            # As one tall picture, so that every frame gets the same colours.
            tall = arrays.frames.reshape(-1, *arrays.frames.shape[2:])
            changed = self.colors(rng, tall).reshape(arrays.frames.shape)
            arrays = replace(arrays, frames=changed)
        if self.light is not None:
            arrays = replace(arrays, frames=self.light(rng, arrays.frames))
        return arrays

    def _crop(
        self, rng: np.random.Generator, arrays: ClipArrays, weights: NDArray, keep: float
    ) -> ClipArrays:
        if self.crop is None:
            return arrays
        height, width = (
            max(1, round(side * share)) for side, share in zip(arrays.size, self.crop, strict=True)
        )
        corner = draw_window(rng, weights, (height, width), keep)
        if corner is None:
            return arrays
        rows, columns = slice(corner[0], corner[0] + height), slice(corner[1], corner[1] + width)
        return arrays.map_truth(lambda a: a[..., rows, columns], arrays.frames[:, rows, columns])


def draw_window(
    rng: np.random.Generator, weights: NDArray, window: tuple[int, int], keep: float
) -> tuple[int, int] | None:
    """Draw the place of a window evenly among those that keep enough.

    Args:
        rng: the source of chance.
        weights: (H, W), what each pixel counts.
        window: (h, w), no larger.
        keep: least share of all weights that must lie in the window.

    Returns:
        (top, left), or None where no window keeps enough.

    Example:
        >>> weights = np.zeros((4, 6), int)
        >>> weights[3, 5] = 1
        >>> draw_window(np.random.default_rng(0), weights, (1, 1), 1.0)
        (3, 5)
    """
    # Sums over everything above and left of each corner.
    sums = np.pad(weights.astype(np.int64).cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
    height, width = window
    inside = sums[height:, width:] - sums[:-height, width:]
    inside = inside - sums[height:, :-width] + sums[:-height, :-width]
    places = np.flatnonzero(inside >= keep * sums[-1, -1])
    if not len(places):
        return None
    top, left = divmod(int(places[rng.integers(len(places))]), inside.shape[1])
    return top, left


def resize_clip(arrays: ClipArrays, size: tuple[int, int]) -> ClipArrays:
    """Resize frames bilinearly, with antialiasing, and annotations by the nearest pixel.

    Args:
        arrays: the clip.
        size: (H, W) to become.
    """
    if size == arrays.size:
        return arrays
    tensor = torch.from_numpy(np.ascontiguousarray(arrays.frames)).permute(0, 3, 1, 2)
    frames = F.resize(tensor, list(size), antialias=True).permute(0, 2, 3, 1).numpy()
    rows, columns = (
        ((np.arange(new) + 0.5) * (old / new)).astype(np.intp)
        for old, new in zip(arrays.size, size, strict=True)
    )
    return arrays.map_truth(lambda a: a[..., rows, :][..., columns], frames)
