"""Mask embeddings of hinted objects, fitted to the masks that the user gave of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from segblocks.nn.clip_output import ClipOutput
from segblocks.ops.mask_fit import fit_mask_embeddings


class _Known(NamedTuple):
    """A mask that was given: its frame in the video, features (C, h, w), coverage (h, w)."""

    frame: int
    features: Tensor
    coverage: Tensor


class GivenMasks:
    """Remember what given masks look like, and let every clip's embeddings show them.

    A decoder that has seen little draws an object roughly even where it was given. What its
    embeddings should have been there is known, and a linear classifier on the neck's features
    holds over a video. Of each object the first mask and the latest one are remembered, so that
    memory does not grow with the video; masks that the model found are not.
    """

    def __init__(self) -> None:
        self._known: dict[int, tuple[_Known, ...]] = {}

    def remember(
        self, output: ClipOutput, given: Mapping[int, Mapping[int, NDArray[np.bool_]]]
    ) -> None:
        """Take in the masks that were given on frames of a clip.

        Args:
            output: of the clip.
            given: clip-local frame -> id -> mask (h, w), of the size of the model's frames.
        """
        for t, by_id in given.items():
            frame = output.frame_indices[t]
            new = {i: mask for i, mask in by_id.items() if frame > self._latest(i) and mask.any()}
            if new:
                features = self._inside(output, t)
                for i, mask in new.items():
                    known = _Known(frame, features, _coverage(mask, features))
                    self._known[i] = (*self._known.get(i, ())[:1], known)

    def fitted(self, output: ClipOutput, ids: Sequence[int]) -> ClipOutput:
        """Return a clip's output with embeddings that show the masks that are known.

        Args:
            output: for a batch of one clip.
            ids: of the objects that it is about, in its order; those without a mask stay.
        """
        last = output.predictions[-1]
        embeddings = last.mask_embeddings.clone()
        for i, queries in zip(ids, output.object_slices, strict=True):
            if known := self._known.get(i):
                embeddings[0, queries] = fit_mask_embeddings(
                    embeddings[0, queries],
                    torch.stack([mask.features for mask in known]),
                    torch.stack([mask.coverage for mask in known]),
                )
        fitted = replace(last, mask_embeddings=embeddings)
        return replace(output, predictions=(*output.predictions[:-1], fitted))

    def _latest(self, object_id: int) -> int:
        return max((known.frame for known in self._known.get(object_id, ())), default=-1)

    def _inside(self, output: ClipOutput, t: int) -> Tensor:
        """The features (C, h, w) of a frame, without its padding, in float32."""
        height, width = (-(-side // 4) for side in output.model_size)
        return output.mask_features[0, t, :, :height, :width].to(torch.float32, copy=True)


def _coverage(mask: NDArray[np.bool_], like: Tensor) -> Tensor:
    """The share (h, w) of each cell of stride 4 that a mask covers."""
    height, width = mask.shape
    extra = (0, 4 * like.shape[-1] - width, 0, 4 * like.shape[-2] - height)
    known = F.pad(torch.from_numpy(mask).to(like.device, like.dtype), extra)
    return F.avg_pool2d(known[None], 4)[0]
