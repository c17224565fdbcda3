"""Video in, results out: reading, the clip schedule, streaming, writing."""

from __future__ import annotations

from segblocks.inference.engine import VideoModel, segment, stream
from segblocks.inference.video import VideoReader, open_video
from segblocks.inference.writers import read_result, save_result

__all__ = [
    "VideoModel",
    "VideoReader",
    "open_video",
    "read_result",
    "save_result",
    "segment",
    "stream",
]
