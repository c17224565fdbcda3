"""A class for every pixel, over clips that share frames."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from segblocks.tracking.full_size import full_size_argmax
from segblocks.tracking.overlap import LogitRows, join

VOID = -1


class SemanticJoiner:
    """Average the semantic logits of successive clips on the frames that they share.

    Args:
        classes: indices of the classes that may win a pixel, ascending; the others take no part.
            For VPS these are the stuff classes.
    """

    def __init__(self, classes: Sequence[int]) -> None:
        self.classes = tuple(classes)
        self._window = LogitRows.none(0)

    def update(self, logits: Tensor, num_done: int) -> LogitRows:
        """Take in a clip.

        Args:
            logits: (n, T, h, w) of ``classes``.
            num_done: frames of the clip that no later clip holds.

        Returns:
            The logits over these frames, with class indices for ids.
        """
        clip = LogitRows.of_clip(self.classes, logits)
        finished, self._window = join(self._window, clip).split(num_done)
        return finished


def class_map(
    rows: LogitRows, t: int, model_size: tuple[int, int], size: tuple[int, int]
) -> NDArray[np.int32]:
    """Return the class of each pixel of a frame, the one of the highest logit.

    Args:
        rows: whose ids are class indices, ascending.
        t: the frame in ``rows``.
        model_size: (height, width) of the clip's frames before padding.
        size: (H, W) of the video.

    Returns:
        (H, W); ``VOID`` everywhere where there are no rows.
    """
    classes, logits = rows.frame(t)
    if not classes:
        return np.full(size, VOID, dtype=np.int32)
    _, index = full_size_argmax(logits, model_size, size)
    return np.asarray(classes, dtype=np.int32)[index.cpu().numpy()]
