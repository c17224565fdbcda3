"""Video panoptic quality."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from segblocks.metrics.base import Record, mean
from segblocks.metrics.pq import TubeQuality

#: Windows of Cityscapes-VPS: every fifth frame is annotated, so they span 1, 6, 11 and 16 frames.
CITYSCAPES_VPS_WINDOWS = (1, 2, 3, 4)
#: Windows of VIPSeg as papers report them.
VIPSEG_WINDOWS = (1, 2, 4, 6)


class VPQ(TubeQuality):
    r"""Compute video panoptic quality.

    Kim et al., Video Panoptic Segmentation (CVPR 2020), section 3.2. A window of k frames slides
    over the annotated frames of each video; inside it, what has one id is one tube, tubes match as
    the segments of :class:`~segblocks.metrics.pq.PQ` do, and :math:`VPQ^k` is the panoptic quality
    over all windows of all videos, averaged over the classes that occur. VPQ is its mean over k. A
    stuff class is one segment in all frames.

    Follows the repaired official tool: its first version added up the annotated areas of segments
    that appear inside a window once more in each window that followed.

    Args:
        windows: k, in annotated frames; those of Cityscapes-VPS by default.

    Returns of ``compute``: VPQ, VPQ_Th and VPQ_St, and each for one k (``VPQ@2``). Windows that no
    video is long enough for are NaN and left out of the mean.
    """

    def __init__(self, windows: Sequence[int] = CITYSCAPES_VPS_WINDOWS) -> None:
        super().__init__(windows)

    def _score(self, records: Sequence[Record]) -> dict[str, float]:
        by_window = {k: self._qualities(records, k) for k in self.windows}
        result = {}
        for group in ("", "_Th", "_St"):
            values = {k: quality[group][0] for k, quality in by_window.items()}
            result["VPQ" + group] = mean([v for v in values.values() if not np.isnan(v)])
            result |= {f"VPQ{group}@{k}": v for k, v in values.items()}
        return result
