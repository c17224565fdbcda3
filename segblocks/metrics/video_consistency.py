"""Whether the classes of a video stay where the scene does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from segblocks.metrics.base import Record, VideoMetric
from segblocks.metrics.classes import predicted_classes
from segblocks.metrics.miou import labelled
from segblocks.results import VideoSegmentation
from segblocks.tasks import VPS, VSS

if TYPE_CHECKING:
    from segblocks.data.sample import VideoSample


class VideoConsistency(VideoMetric):
    r"""Compute mVC, the video consistency of semantic maps.

    Miao et al., VSPW (CVPR 2021), section 5.1. In a window of n frames, let A be the pixels whose
    annotated class is the same in all of them, and P those whose predicted class is:
    :math:`VC_n = |A \cap P| / |A|`, and mVC is its mean over all windows of all videos.

    The paper also has windows and predictions that the official tool has not, and the tool is
    followed: the window that ends with the last frame does not count, nor do videos of n frames or
    fewer, nor windows where A is empty; unlabelled counts as a class; and P asks that a prediction
    stays, not that it is right.

    Args:
        windows: n, in annotated frames.

    Returns of ``compute``: ``mVC8`` and ``mVC16``, or of what ``windows`` says.

    Raises:
        ValueError: no window, or one below 2 frames.
    """

    tasks = (VPS, VSS)

    def __init__(self, windows: Sequence[int] = (8, 16)) -> None:
        super().__init__()
        if not windows or min(windows) < 2:
            raise ValueError(f"windows must be lengths of at least 2, got {tuple(windows)}")
        self.windows = tuple(windows)

    def _settings(self) -> dict[str, Any]:
        return {"windows": list(self.windows)}

    def _measure(self, truth: VideoSample, prediction: VideoSegmentation) -> Record:
        sums = {str(n): [0.0, 0] for n in self.windows}
        # For how many frames each pixel has kept its class: all that windows need to know.
        kept = np.zeros(truth.size, dtype=np.int64)
        kept_predicted = kept.copy()
        before = None
        for t in truth.annotated[:-1]:
            labels = labelled(truth, truth.read_truth(t), t)
            predicted = predicted_classes(prediction, t)
            if before is not None:
                kept = np.where(labels == before[0], kept + 1, 0)
                kept_predicted = np.where(predicted == before[1], kept_predicted + 1, 0)
            before = labels, predicted
            for n in self.windows:
                stays = kept >= n - 1
                if area := np.count_nonzero(stays):
                    common = np.count_nonzero(stays & (kept_predicted >= n - 1))
                    sums[str(n)][0] += float(common / area)
                    sums[str(n)][1] += 1
        return sums

    def _score(self, records: Sequence[Record]) -> dict[str, float]:
        result = {}
        for n in self.windows:
            total = sum(record[str(n)][0] for record in records)
            count = sum(record[str(n)][1] for record in records)
            result[f"mVC{n}"] = total / count if count else float("nan")
        return result
