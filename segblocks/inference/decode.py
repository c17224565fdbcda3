"""Video files, decoded a frame at a time."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from segblocks._optional import require
from segblocks.inference.container_end import missing_end

# A file may end this much before the duration it states: containers round, and the last frame's
# own duration is often missing.
_SLACK_SECONDS = 0.25


class VideoDecoder:
    """Decode the first video stream of a file, upright and without skipping damage.

    Frames come as they are stored: none is dropped or repeated to even out a variable frame rate.
    The rotation that phones write is applied.

    Args:
        path: a file that FFmpeg can read.

    Raises:
        ImportError: PyAV is missing.
        FileNotFoundError: there is no such file.
        ValueError: the file is no video, is cut off, or has no video stream.
    """

    def __init__(self, path: Path) -> None:
        self._av = require("av", "video")
        self.path = path
        if not path.exists():
            raise FileNotFoundError(f"{path}: no such video file or image folder")
        try:
            # Titles of other encodings than UTF-8 make no video unreadable.
            self._container = self._av.open(str(path), metadata_errors="replace")
        except self._av.error.FFmpegError as error:
            raise ValueError(f"{path}: not a readable video ({_reason(error)})") from error
        try:
            self._stream = self._first_stream()
            self._check_complete()
        except BaseException:
            self._container.close()
            raise
        self._stream.thread_type = "AUTO"

    @property
    def fps(self) -> float | None:
        """Mean frames per second, where the file states it."""
        rate = self._stream.average_rate or self._stream.guessed_rate
        return float(rate) if rate else None

    @property
    def num_frames(self) -> int | None:
        """Number of frames, where the file states it."""
        return self._stream.frames or None

    def frames(self) -> Iterator[np.ndarray]:
        """Decode the frames in order, (H, W, 3) uint8 RGB, and close the file at the end.

        Raises:
            ValueError: damaged data, or an end before the stated duration; frames that were
                whole up to there have been given out.
        """
        index, end = 0, 0.0
        with self._container:
            try:
                for packet in self._container.demux(self._stream):
                    if packet.is_corrupt:
                        raise self._damaged(index, "incomplete packet")
                    for frame in packet.decode():
                        if frame.is_corrupt:
                            raise self._damaged(index, "damaged picture")
                        end = max(end, _end_of(frame))
                        yield _upright(frame)
                        index += 1
            except self._av.error.FFmpegError as error:
                raise self._damaged(index, _reason(error)) from error
            stated = _stated_seconds(self._stream)
            if stated is not None and end < stated - _SLACK_SECONDS:
                raise self._damaged(index, f"ends at {end:.2f} s, {stated:.2f} s are stated")

    def close(self) -> None:
        """Release the file."""
        self._container.close()

    def _first_stream(self) -> Any:
        if not self._container.streams.video:
            raise ValueError(f"{self.path}: this file has no video stream")
        stream = self._container.streams.video[0]
        if stream.codec_context is None:
            raise ValueError(f"{self.path}: no decoder for this file's video codec")
        return stream

    def _check_complete(self) -> None:
        # The index of an MP4 says where its last frame lies: a cut file is found before the work.
        entries = getattr(self._stream, "index_entries", None)
        size = self._container.size
        last = max((entry.pos + entry.size for entry in entries or ()), default=0)
        missing = missing_end(self.path, self._container.format.name)
        if last > size > 0:
            missing = f"{size} bytes, its index reaches to {last}"
        if missing is not None:
            raise ValueError(f"{self.path}: the video is cut off ({missing})")

    def _damaged(self, index: int, reason: str) -> ValueError:
        return ValueError(f"{self.path}: the video is damaged after {index} frames ({reason})")


def _upright(frame: Any) -> np.ndarray:
    pixels = frame.to_ndarray(format="rgb24")
    quarter_turns = round(frame.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(pixels, quarter_turns)) if quarter_turns else pixels


def _end_of(frame: Any) -> float:
    if frame.pts is None or frame.time_base is None:
        return 0.0
    return float((frame.pts + (frame.duration or 0)) * frame.time_base)


def _stated_seconds(stream: Any) -> float | None:
    """When a Matroska stream ends; that of the whole file may be the sound's end.

    An MP4 is checked by its index: its duration counts what was trimmed off without encoding anew.
    """
    tag = re.fullmatch(r"(\d+):(\d+):(\d+\.?\d*)", stream.metadata.get("DURATION", ""))
    if tag is None:
        return None
    hours, minutes, seconds = tag.groups()
    return int(hours) * 3600 + int(minutes) * 60 + float(Fraction(seconds))


def _reason(error: Exception) -> str:
    with suppress(AttributeError):
        return str(error.strerror)  # pyright: ignore[reportAttributeAccessIssue]
    return str(error)
