"""Video in, results out: reading, the clip schedule, streaming, writing."""

from __future__ import annotations

from segblocks.inference.engine import VideoModel, segment, stream
from segblocks.inference.evaluation.evaluate import evaluate
from segblocks.inference.evaluation.predictions import open_predictions, write_submission
from segblocks.inference.evaluation.report import Evaluation
from segblocks.inference.evaluation.sample_task import task_of
from segblocks.inference.video import VideoReader, open_video
from segblocks.inference.writers import read_result, save_result

__all__ = [
    "Evaluation",
    "VideoModel",
    "VideoReader",
    "evaluate",
    "open_predictions",
    "open_video",
    "read_result",
    "save_result",
    "segment",
    "stream",
    "task_of",
    "write_submission",
]
