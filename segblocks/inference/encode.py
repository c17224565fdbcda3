"""Frames out: an H.264 file that appears only when it is whole."""

from __future__ import annotations

import math
import os
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from segblocks._files import naming
from segblocks._optional import require
from segblocks.images import check_frame

_CRF = 18  # visually lossless for x264, where 23 is its default
_BT709 = 1  # the number of BT.709 in every colour field of H.264


class VideoWriter:
    """Write RGB frames as H.264 in 4:2:0, which every player and browser shows.

    4:2:0 needs even sides: an odd height or width grows by one, the last row or column repeated, so
    that no pixel is lost. The file is written beside ``path`` under a temporary name and takes its
    own name in `close`; after an error, or without `close`, nothing is left behind.

    Args:
        path: file to write, ``.mp4``, ``.mov`` or ``.mkv``; an older one is replaced at the end.
        fps: frames per second.
        size: (H, W) of the frames.

    Raises:
        ImportError: PyAV is missing.
        ValueError: fps not positive, size not positive, or a folder that does not exist.

    Example:
        >>> with VideoWriter("a.mp4", 24, (90, 160)) as writer:  # doctest: +SKIP
        ...     writer.write(np.zeros((90, 160, 3), np.uint8))
    """

    def __init__(self, path: str | os.PathLike[str], fps: float, size: tuple[int, int]) -> None:
        self._av = require("av", "video")
        self.path = Path(path)
        self.size = size
        self._part = self.path.with_name(f".{self.path.stem}.{os.getpid()}{self.path.suffix}")
        self._container: Any = None
        if not (math.isfinite(fps) and fps > 0):
            raise ValueError(f"VideoWriter: fps must be positive and finite, got {fps}")
        if min(size) < 1:
            raise ValueError(f"VideoWriter: size must be positive, got {size}")
        if not self.path.parent.is_dir():
            raise ValueError(f"VideoWriter: there is no folder {self.path.parent}")
        self._rate = Fraction(fps).limit_denominator(1001)
        self._stream: Any = None
        self._count = 0
        self._open()

    def write(self, frame: np.ndarray) -> None:
        """Append a frame.

        Args:
            frame: uint8 RGB (H, W, 3) of the writer's size.

        Raises:
            OSError: the disk is full; names ``path``.
            ValueError: another shape or dtype, or the writer is closed.
        """
        if self._container is None:
            raise ValueError(f"{self.path}: this writer is closed")
        check_frame(frame, f"{self.path}, frame {self._count}")
        if frame.shape[:2] != tuple(self.size):
            raise ValueError(
                f"{self.path}, frame {self._count}: expected {self.size}, got {frame.shape[:2]}"
            )
        height, width = self.size
        even = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        picture = self._av.VideoFrame.from_ndarray(np.ascontiguousarray(even), format="rgb24")
        picture = picture.reformat(format="yuv420p", dst_colorspace=_BT709)
        picture.pts = self._count
        with naming(self.path, self._part):
            self._container.mux(self._stream.encode(picture))
        self._count += 1

    def close(self) -> None:
        """Finish the file and give it its name.

        Raises:
            OSError: the disk is full; names ``path``.
            ValueError: no frame was written.
        """
        if self._container is None:
            return
        try:
            if self._count == 0:
                raise ValueError(f"{self.path}: no frame was written")
            with naming(self.path, self._part):
                self._container.mux(self._stream.encode(None))
                self._container.close()
                os.replace(self._part, self.path)
        except BaseException:
            self.abort()
            raise
        self._container = None

    def abort(self) -> None:
        """Throw away what was written."""
        container, self._container = self._container, None
        if container is not None:
            # FFmpeg refuses to finish a file that has no frame, and it is not wanted anyway.
            with suppress(self._av.error.FFmpegError):
                container.close()
        self._part.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()

    def __del__(self) -> None:
        if getattr(self, "_container", None) is not None:
            self.abort()

    def _open(self) -> None:
        height, width = (side + side % 2 for side in self.size)
        try:
            with naming(self.path):
                self._container = self._av.open(str(self._part), "w")
            self._stream = self._container.add_stream("libx264", rate=self._rate)
        except (self._av.error.FFmpegError, ValueError) as error:
            self.abort()
            raise ValueError(f"{self.path}: cannot write this video ({error})") from error
        self._stream.height, self._stream.width = height, width
        self._stream.pix_fmt = "yuv420p"
        self._stream.options = {"crf": str(_CRF), "preset": "veryfast"}
        context = self._stream.codec_context
        context.colorspace = context.color_primaries = context.color_trc = _BT709
        context.color_range = 1  # 16..235, what players assume of 4:2:0
