"""Masks of hinted objects, carried from frame to frame by how their pixels look."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from segblocks.nn.clip_output import ClipOutput
from segblocks.ops.label_propagation import LabelledCells, describe_cells, propagate_labels

_STRIDE = 8
_COARSEST = 16
# How far a pixel may have moved since the frame before, and since earlier ones, as fractions of the
# frame's short side.
_STEP, _WAY = 0.08, 0.25
# What is propagated is never surer than this, in shares of a pixel.
_DOUBT = 0.02


@dataclass(eq=False)
class _Frame:
    """A frame's index in the video, its cells (C, h, w), and id -> share of each pixel (2h, 2w)."""

    index: int
    cells: Tensor
    shares: dict[int, Tensor] = field(default_factory=dict)

    def labels(self, ids: Sequence[int]) -> Tensor:
        """The shares of objects, the four pixels of a cell as channels, (4 O, h, w)."""
        return F.pixel_unshuffle(torch.stack([self.shares[i] for i in ids])[None], 2)[0]


def check_propagation(caller: str, propagation: float) -> None:
    """Refuse a share of propagated masks that is none.

    Args:
        caller: named in the error.
        propagation: 0, for none, to 1.

    Raises:
        ValueError: another number.
    """
    if not 0 <= propagation <= 1:
        raise ValueError(f"{caller}: propagation must be from 0 to 1, got {propagation}")


class ObjectPropagation:
    """Blend the masks that a decoder finds with what its objects looked like before.

    A decoder's embedding describes an object as a whole, and tells it neither from its twin nor
    from what looks like it elsewhere. Here each cell of 8 x 8 pixels takes the labels of the cells
    most like it nearby, in the frame before and in those of the object's first and latest hint, see
    :func:`~segblocks.ops.propagate_labels`; and the logit of these labels is averaged with the
    decoder's. What results is what the next frame sees; a mask that was given is seen as it is. An
    object that the frame before does not know, such as one found again, is the decoder's alone.
    Memory does not grow with the video.

    Cells are described by the mask features and by what the model extracted of each frame, up to
    stride 16, if outputs hold it. The reaches, 0.08 and 0.25 of the frame's short side, are those
    that k-NN propagation alone does best with on the synthetic world.

    Args:
        weight: of the propagated logit, above 0 and at most 1; the decoder has the rest.

    Raises:
        ValueError: a weight that is not that.

    Example:
        >>> from segblocks.nn.clip_output import Prediction
        >>> features = torch.rand(1, 2, 8, 8, 8)
        >>> z = torch.zeros(1, 1, 8)
        >>> output = ClipOutput((Prediction(z, z),), features, {"object": slice(0, 1)}, (32, 32),
        ...                     (0, 1), object_slices=(slice(0, 1),), object_ids=(1,))
        >>> given, logits = {0: {1: np.eye(32, dtype=bool)}}, {1: torch.zeros(2, 8, 8)}
        >>> ObjectPropagation(0.5).blend(output, logits, {0: [1]}, given)[1].shape
        torch.Size([2, 8, 8])
    """

    def __init__(self, weight: float) -> None:
        if not 0 < weight <= 1:
            raise ValueError(
                f"ObjectPropagation: weight must be above 0 and at most 1, got {weight}"
            )
        self.weight = weight
        self._frames: dict[int, _Frame] = {}
        self._seen: dict[int, tuple[int, ...]] = {}
        self._last_clip: dict[int, _Frame] = {}

    def blend(
        self,
        output: ClipOutput,
        logits: Mapping[int, Tensor],
        hinted: Mapping[int, Collection[int]],
        given: Mapping[int, Mapping[int, NDArray[np.bool_]]],
    ) -> dict[int, Tensor]:
        """Take in a clip, which may share frames with the one before.

        Args:
            output: of the clip, a batch of one.
            logits: id -> (T, h, w) at stride 4 of the padded clip, as the decoder found them.
            hinted: clip-local frame -> ids of the objects that the user hints at there. Before its
                first hint nothing is known of an object.
            given: clip-local frame -> id -> mask, of the size of the model's frames, of the hints
                that are masks.

        Returns:
            Logits as given, blended where an object is known from the frame before or its mask is
            given. What a point or a box stands for is left to the decoder.
        """
        blended = {i: found.clone() for i, found in logits.items()}
        last = self._last_clip.get(output.frame_indices[0] - 1)
        self._last_clip = {}
        clip: dict[int, _Frame] = {}
        for t, index in enumerate(output.frame_indices):
            here = clip[index] = _Frame(index, cells := _describe(output, t))
            asked = set(hinted.get(t, ())) & logits.keys()
            known = [i for i in logits if i in asked or self._is_known(i, index)]
            before = clip.get(index - 1, last)
            shares = self._propagated(here, before, [i for i in known if i not in asked])
            masks = {i: mask for i, mask in given.get(t, {}).items() if i in asked and mask.any()}
            shares |= {i: _coverage(mask, cells) for i, mask in masks.items()}
            height, width = (2 * side for side in cells.shape[1:])
            for i in known:
                found = blended[i][t, :height, :width]
                if i in shares:
                    propagated = torch.logit(shares[i], eps=_DOUBT).to(found.dtype)
                    found.lerp_(propagated, self.weight)
                here.shares[i] = found.float().sigmoid()
            here.shares |= {i: shares[i] for i in masks}
            self._remember(here, asked)
        self._last_clip = clip
        return blended

    def _is_known(self, object_id: int, index: int) -> bool:
        return object_id in self._seen and self._seen[object_id][0] <= index

    def _propagated(
        self, here: _Frame, before: _Frame | None, ids: Sequence[int]
    ) -> dict[int, Tensor]:
        """Id -> share of each pixel, of the objects that the frame before knows."""
        short = min(here.cells.shape[1:])
        step, way = (max(1, round(part * short)) for part in (_STEP, _WAY))
        alike: dict[tuple[tuple[_Frame, int], ...], list[int]] = {}
        for i in ids:
            if before is not None and i in before.shares:
                # A clip that shares frames with the one before begins ahead of what was seen there.
                seen = [self._frames[t] for t in self._seen[i] if t < here.index]
                memory = (*((frame, way) for frame in seen), (before, step))
                alike.setdefault(memory, []).append(i)
        shares: dict[int, Tensor] = {}
        for memory, together in alike.items():
            known = [LabelledCells(f.cells, f.labels(together), reach) for f, reach in memory]
            found = F.pixel_shuffle(propagate_labels(here.cells, known)[None], 2)[0]
            shares |= dict(zip(together, found, strict=True))
        return shares

    def _remember(self, here: _Frame, ids: Collection[int]) -> None:
        """Keep what objects look like on a frame, of each the first and the latest."""
        frame = self._frames.setdefault(here.index, _Frame(here.index, here.cells))
        for i in ids:
            others = self._seen.get(i, ())
            if all(index < here.index for index in others):
                self._seen[i] = (*others[:1], here.index)
                frame.shares[i] = here.shares[i]
        used = {index for seen in self._seen.values() for index in seen}
        self._frames = {index: frame for index, frame in self._frames.items() if index in used}


def _describe(output: ClipOutput, t: int) -> Tensor:
    """The cells (C, h, w) of a frame, without the padding but for that of a cell."""
    height, width = (-(-side // _STRIDE) for side in output.model_size)
    fine = output.mask_features
    levels = [fine, *(x for stride, x in output.frame_features.items() if stride <= _COARSEST)]
    padded = (fine.shape[-2] // 2, fine.shape[-1] // 2)
    cells = describe_cells([level[:1, t].float() for level in levels], padded)
    return cells[0, :, :height, :width].contiguous()


def _coverage(mask: NDArray[np.bool_], cells: Tensor) -> Tensor:
    """The share (2h, 2w) of each pixel of stride 4 that a mask covers."""
    height, width = (_STRIDE * side for side in cells.shape[1:])
    extra = (0, width - mask.shape[1], 0, height - mask.shape[0])
    # A copy, as PyTorch takes neither masks that are mirrored nor such as may not be written.
    known = F.pad(torch.from_numpy(mask.copy()).to(cells.device).to(cells.dtype), extra)
    return F.avg_pool2d(known[None], _STRIDE // 2)[0]
