"""The frames of the current clip, with those features that have been computed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Pyramid = dict[int, Tensor]


class FrameWindow:
    """Hold the frames of one clip, and keep shared ones and their features for the next.

    A backbone sees each frame alone, so that the features of a frame are the same in every clip.

    Args:
        extract: frames (1, T, 3, h, w) -> stride -> (1, T, C, h_s, w_s).

    Example:
        >>> window = FrameWindow(lambda frames: {4: frames[..., ::4, ::4]})
        >>> window.extend([torch.zeros(3, 8, 8)] * 3)
        >>> window.features()[4].shape
        torch.Size([1, 3, 3, 2, 2])
        >>> window.keep_last(1)
        >>> window.frames.shape
        torch.Size([1, 1, 3, 8, 8])
    """

    def __init__(self, extract: Callable[[Tensor], Pyramid]) -> None:
        self._extract = extract
        self._frames: list[Tensor] = []
        self._features: Pyramid = {}
        # The features are those of the first so many frames.
        self._num_extracted = 0

    @property
    def frames(self) -> Tensor:
        """The frames of the clip, (1, T, 3, h, w)."""
        return torch.stack(self._frames)[None]

    def extend(self, frames: Sequence[Tensor]) -> None:
        """Append frames (3, h, w)."""
        self._frames.extend(frames)

    def features(self) -> Pyramid:
        """Return the features of all frames; only those that have none yet are computed."""
        missing = self._frames[self._num_extracted :]
        if missing:
            new = self._extract(torch.stack(missing)[None])
            for stride in tuple(self._features):  # one by one, so that parts are freed early
                known = self._features.pop(stride)
                new[stride] = torch.cat((known, new[stride]), dim=1)
            self._features = new
            self._num_extracted = len(self._frames)
        return self._features

    def keep_last(self, num_frames: int) -> None:
        """Forget all but the last frames and what is known of them."""
        dropped = len(self._frames) - num_frames
        self._frames = self._frames[dropped:]
        kept = max(self._num_extracted - dropped, 0)
        # Copies, because a slice would keep the memory of the whole clip.
        self._features = {
            stride: level[:, dropped:].clone() for stride, level in self._features.items() if kept
        }
        self._num_extracted = kept
