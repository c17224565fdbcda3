"""Soft k-nearest-neighbour propagation of labels by the features of a frozen backbone.

The usual yardstick of self-supervised video features (Jabri et al., NeurIPS 2020; Caron et al.,
ICCV 2021, appendix): a cell takes the labels of the most similar cells of a few earlier frames.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.ndimage import label as connected_components
from torch import Tensor

from benchmarks.learning.features import STRIDE, cells_of
from segblocks.ops import LabelledCells, propagate_labels


@dataclass(frozen=True)
class PropagationSettings:
    """Set the propagation; the defaults are what ``python -m benchmarks.learning.tune`` found.

    Args:
        strides: levels of the backbone.
        neighbours: cells that vote.
        temperature: of the softmax over their cosines.
        window: greatest distance, up or sideways, to a cell of the frame before, as a fraction of
            the frame's shorter side.
        first_window: the same for frames with hints; None sets no limit.
        disc: radius of the disc that a point stands for, as a fraction of the shorter side.
        similarity: a point stands for the disc and all around it whose cosine to the point's cell
            is above this; None for the disc alone.
    """

    strides: tuple[int, ...] = (2, 4, 8, 16)
    neighbours: int = 5
    temperature: float = 0.2
    window: float = 0.08
    first_window: float | None = 0.25
    disc: float = 0.06
    similarity: float | None = 0.5


def propagate(
    frames: Iterable[NDArray[np.uint8]],
    hints: Mapping[int, Mapping[int, NDArray[np.bool_]]],
    settings: PropagationSettings,
    backbone: Callable[[NDArray[np.uint8]], dict[int, Tensor]],
) -> Iterator[NDArray[np.int64]]:
    """Label the pixels of each frame by those of the frames with hints and of the frame before.

    Args:
        frames: (H, W, 3) RGB.
        hints: frame -> label -> (H, W) bool; pixels of a frame's hints that no label has are 0,
            or what was propagated to them.
        settings: how.
        backbone: such as `FrozenBackbone`.

    Yields:
        (H, W), the label of each pixel, 0 where none; all 0 before the first hint.
    """
    names = [0, *sorted({label for given in hints.values() for label in given})]
    anchors: list[LabelledCells] = []
    before: LabelledCells | None = None
    for t, frame in enumerate(frames):
        cells = cells_of(backbone(frame), settings.strides)
        size = (cells.shape[1], cells.shape[2])
        found = np.zeros(frame.shape[:2], np.int64)
        labels = None
        if before is not None:
            labels = propagate_labels(
                cells,
                [*anchors, before._replace(reach=_reach(settings.window, size))],
                neighbours=settings.neighbours,
                temperature=settings.temperature,
            )
            found = np.array(names)[_enlarge(labels, frame.shape[:2])]
        if t in hints:
            for label, mask in hints[t].items():
                found[mask] = label
            index = torch.tensor(np.searchsorted(names, found))
            labels = _shrink(F.one_hot(index, len(names)).float(), size)
        if labels is not None:
            before = LabelledCells(cells, labels, _reach(settings.first_window, size))
            anchors += [before] if t in hints else []
        yield found


def grow_point(
    frame: NDArray[np.uint8],
    point: NDArray[np.float64],
    settings: PropagationSettings,
    backbone: Callable[[NDArray[np.uint8]], dict[int, Tensor]] | None = None,
) -> NDArray[np.bool_]:
    """Return the region that a point stands for.

    Args:
        frame: (H, W, 3) RGB.
        point: (x, y).
        settings: how large the disc is, and how alike what is added to it.
        backbone: of the features; None leaves the disc alone.
    """
    height, width = frame.shape[:2]
    y, x = np.mgrid[:height, :width]
    radius = max(1.0, settings.disc * min(height, width))
    disc = np.hypot(x - point[0], y - point[1]) <= radius
    if settings.similarity is None or backbone is None:
        return disc
    grid = cells_of(backbone(frame), settings.strides)
    own = grid[:, int(point[1] + 0.5) // STRIDE, int(point[0] + 0.5) // STRIDE]
    cosines = torch.einsum("chw,c->hw", grid, own)[None, None]
    cosines = F.interpolate(cosines, scale_factor=STRIDE, mode="bilinear", align_corners=False)
    alike = cosines[0, 0, :height, :width].numpy() > settings.similarity
    parts = np.empty(disc.shape, np.int32)
    connected_components(alike | disc, output=parts)
    return parts == parts[disc][0]


def _reach(window: float | None, size: tuple[int, int]) -> int | None:
    """A fraction of the shorter side in cells."""
    return None if window is None else max(1, round(window * min(size)))


def _shrink(labels: Tensor, size: tuple[int, int]) -> Tensor:
    """The part of each cell that each label has: (H, W, L) to (L, h, w)."""
    planes = labels.permute(2, 0, 1)[None]
    height, width = planes.shape[-2:]
    padding = (0, size[1] * STRIDE - width, 0, size[0] * STRIDE - height)
    planes = F.pad(planes, padding, mode="replicate")
    return F.avg_pool2d(planes, STRIDE)[0]


def _enlarge(labels: Tensor, frame_size: tuple[int, ...]) -> NDArray[np.int64]:
    """The column of the strongest label of each pixel, (H, W), from (L, h, w)."""
    planes = F.interpolate(labels[None], scale_factor=STRIDE, mode="bilinear", align_corners=False)
    return planes[0, :, : frame_size[0], : frame_size[1]].argmax(dim=0).numpy()
