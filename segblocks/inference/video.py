"""One reader for every kind of video: files, folders, arrays, iterators."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeAlias

import numpy as np
import torch

from segblocks._files import expand
from segblocks.images import (
    IMAGE_SUFFIXES,
    list_images,
    plain_name,
    read_images,
    to_frame,
)
from segblocks.inference.checks import whole_number
from segblocks.inference.decode import VideoDecoder

# One letter would be a drive of Windows; Path makes one slash of two.
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")
_GONE = "it was copied without its frames"

VideoSource: TypeAlias = (
    "str | PathLike[str] | np.ndarray | torch.Tensor | Iterable[Any] | VideoReader"
)


class VideoReader:
    """Give out the frames of a video once, in order, each decoded when it is asked for.

    Made by `open_video`. Every frame has the size of the first. What holds a file open lets go of
    it at the end, on `close`, at the end of a ``with`` block, and when the reader is collected. A
    pickled reader comes back used up; that of a file or folder can be reopened.

    Args:
        frames: iterator of whatever `to_frame` takes.
        name: what errors and results call the video.
        fps: frames per second, None where unknown.
        num_frames: their number, None where unknown.
        reopen: makes a fresh reader of the same video, or says why there can be none.
        close: releases what ``frames`` holds.
        max_frames: end after this many; later ones are not even decoded.
        path: of the file or folder, None for other sources.
        frame_names: file name of each frame, None where frames have none.
        is_exact: whether ``num_frames`` is counted, not only stated by a file.
    """

    def __init__(
        self,
        frames: Iterator[Any],
        *,
        name: str,
        fps: float | None = None,
        num_frames: int | None = None,
        reopen: Callable[[], VideoReader] | str,
        close: Callable[[], None] | None = None,
        max_frames: int | None = None,
        path: Path | None = None,
        frame_names: Sequence[str] | None = None,
        is_exact: bool = False,
    ) -> None:
        self.name = name
        self.path = path
        self.fps = fps
        self._frames: Iterator[Any] | None = frames
        self._num_frames = num_frames
        self._frame_names = None if frame_names is None else tuple(frame_names)
        self._is_exact = is_exact
        self.max_frames = max_frames
        self._reopen = reopen
        self._close = close
        self._size: tuple[int, int] | None = None
        self._count = 0

    def __iter__(self) -> Self:
        if self._frames is None:
            raise ValueError(f"{self.name}: this reader is used up; reopen() gives a fresh one")
        return self

    def __next__(self) -> np.ndarray:
        if self._frames is None:
            raise StopIteration
        if self._count == self.max_frames:
            self.close()
            raise StopIteration
        try:
            frame = self._checked(next(self._frames))
        except StopIteration:
            self.close()
            if self._count == 0:
                raise ValueError(f"{self.name}: the video has no frames") from None
            raise
        except BaseException:
            self.close()
            raise
        self._count += 1
        return frame

    @property
    def num_frames(self) -> int | None:
        """Number of frames to come from a fresh reader, None where unknown."""
        known = [n for n in (self._num_frames, self.max_frames) if n is not None]
        return min(known) if self._num_frames is not None else None

    @property
    def most_frames(self) -> int | None:
        """Number of frames that there cannot be more of, None where there may be any."""
        counted = self._num_frames if self._is_exact else None
        known = [n for n in (counted, self.max_frames) if n is not None]
        return min(known, default=None)

    @property
    def frame_names(self) -> tuple[str, ...] | None:
        """File name of each frame, in order; None where frames have none."""
        return None if self._frame_names is None else self._frame_names[: self.max_frames]

    @property
    def can_reopen(self) -> bool:
        """Whether `reopen` works."""
        return not isinstance(self._reopen, str)

    def reopen(self) -> VideoReader:
        """Open the same video again, from its first frame.

        Returns:
            A fresh reader; this one keeps its place.

        Raises:
            ValueError: the frames came from an iterator, which can be read only once.
        """
        if isinstance(self._reopen, str):
            raise ValueError(f"{self.name}: cannot be read twice: {self._reopen}")
        fresh = self._reopen()
        fresh.fps, fresh.max_frames = self.fps, self.max_frames
        return fresh

    def close(self) -> None:
        """Release the file; further iteration ends at once. May be called again."""
        self._frames = None
        if self._close is not None:
            self._close()
            self._close = None

    def __getstate__(self) -> dict[str, Any]:
        # Frames and open files cannot travel, and arrays should not.
        reopen = self._reopen
        if not isinstance(reopen, str):
            reopen = _GONE if self.path is None else partial(_open_path, self.path)
        return {**vars(self), "_frames": None, "_close": None, "_reopen": reopen}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _checked(self, value: Any) -> np.ndarray:
        where = f"{self.name}, frame {self._count}"
        frame = to_frame(value, where)
        size = (frame.shape[0], frame.shape[1])
        if self._size is None:
            self._size = size
        elif size != self._size:
            first = f"{self._size[1]}x{self._size[0]}"
            raise ValueError(
                f"{where}: is {size[1]}x{size[0]} pixels, the frames before are {first}; "
                "all frames of a video must have one size"
            )
        return frame


def open_video(
    source: VideoSource, *, fps: float | None = None, max_frames: int | None = None
) -> VideoReader:
    """Open a video of any kind for reading it frame by frame.

    A file that was cut off raises: MP4, MOV and AVI by their index, Matroska, WebM, GIF and MPEG-TS
    by their structure, others where the decoder notices. What cannot be told is a file that ends
    exactly between two packets or blocks of a format that states neither length nor end: MPEG-TS,
    MPEG-PS, Ogg, raw streams, and Matroska or WebM written live.

    URLs are not read: download the video first, or pass an iterator of its frames, such as one over
    OpenCV's ``VideoCapture`` (BGR: reverse the channels) or PyAV.

    Args:
        source: path of a video file (needs the ``video`` extra), of an image file or of a folder of
            images (natural order: frame2 before frame10; EXIF orientation applied; the files' names
            are kept for the pictures of a result); array or
            tensor (T, H, W, 3) or tensor (T, 3, H, W), uint8; or any iterable or iterator of
            frames, each (H, W, 3) uint8, a tensor (3, H, W), a PIL image or an image path.
            Always RGB. A reader is returned as it is.
        fps: frames per second, over what the file states. Folders, arrays and iterators state none.
        max_frames: end after this many frames; later ones are not even decoded.

    Returns:
        A reader that has read no frame yet.

    Raises:
        FileNotFoundError: there is no such file.
        ImportError: a video file without PyAV.
        TypeError: ``source`` is none of these, or ``max_frames`` no whole number.
        ValueError: unreadable or cut-off file, URL, empty folder or list, array of another shape or
            dtype, fps not positive. A bad frame in the middle raises when it is reached.

    Example:
        >>> import numpy as np
        >>> [frame.shape for frame in open_video(np.zeros((2, 4, 6, 3), np.uint8))]
        [(4, 6, 3), (4, 6, 3)]
    """
    if fps is not None and not (math.isfinite(fps) and fps > 0):
        raise ValueError(f"open_video: fps must be positive and finite, got {fps}")
    if max_frames is not None:
        max_frames = whole_number("open_video", "max_frames", max_frames, least=1)
    reader = _open(source)
    if fps is not None:
        reader.fps = fps
    if max_frames is not None:
        reader.max_frames = max_frames
    return reader


def _open(source: VideoSource) -> VideoReader:
    if isinstance(source, VideoReader):
        return source
    if isinstance(source, str | PathLike):
        if _URL.match(os.fspath(source)) and not os.path.exists(source):
            raise ValueError(
                f"{os.fspath(source)}: URLs are not read; download the video, or pass an iterator "
                "of its frames"
            )
        return _open_path(expand(source))
    if isinstance(source, np.ndarray | torch.Tensor):
        return _open_array(source)
    return _open_iterable(source)


def _open_path(path: Path) -> VideoReader:
    if path.is_dir() or (path.exists() and path.suffix.lower() in IMAGE_SUFFIXES):
        paths = list_images(path) if path.is_dir() else [path]
        return VideoReader(
            read_images(paths),
            name=str(path),
            num_frames=len(paths),
            reopen=partial(_open_path, path),
            path=path,
            frame_names=[image.name for image in paths],
            is_exact=True,
        )
    decoder = VideoDecoder(path)
    return VideoReader(
        decoder.frames(),
        name=str(path),
        fps=decoder.fps,
        num_frames=decoder.num_frames,
        reopen=partial(_open_path, path),
        close=decoder.close,
        path=path,
    )


def _open_array(video: np.ndarray | torch.Tensor) -> VideoReader:
    shape = tuple(video.shape)
    channels_first = isinstance(video, torch.Tensor) and shape[1:2] == (3,) and shape[3:] != (3,)
    if len(shape) != 4 or not (shape[3] == 3 or channels_first):
        hint = "; a single frame is video[None]" if len(shape) == 3 and shape[2] == 3 else ""
        raise ValueError(f"video array: expected shape (T, H, W, 3), got {shape}{hint}")
    if str(video.dtype).removeprefix("torch.") != "uint8":
        raise ValueError(f"video array: expected uint8 values 0..255, got {video.dtype}")
    if shape[0] == 0:
        raise ValueError(f"video array: has no frames, got shape {shape}")
    return VideoReader(
        iter(video),
        name="video array",
        num_frames=shape[0],
        reopen=lambda: _open_array(video),
        is_exact=True,
    )


def _open_iterable(frames: Any) -> VideoReader:
    if isinstance(frames, dict | bytes) or not isinstance(frames, Iterable):
        raise TypeError(
            "open_video: source must be a path, an array or tensor (T, H, W, 3), or an iterable "
            f"of frames, got {type(frames).__name__}"
        )
    iterator = iter(frames)
    one_shot = iterator is frames
    count = len(frames) if hasattr(frames, "__len__") else None  # pyright: ignore
    if count == 0:
        raise ValueError("frames: has no frames, got an empty list")
    return VideoReader(
        map(_own, iterator),
        name="frames",
        num_frames=count,
        reopen="it is an iterator, whose frames are gone once they are read; pass a list, a file "
        "or a folder instead"
        if one_shot
        else lambda: _open_iterable(frames),
        frame_names=_names_of(frames),
        is_exact=isinstance(frames, list | tuple),
    )


def _names_of(frames: Any) -> list[str] | None:
    """The file names in a list of paths, where no two are alike."""
    if not isinstance(frames, list | tuple) or not all(isinstance(f, str | Path) for f in frames):
        return None
    names = [Path(frame).name for frame in frames]
    return names if len({plain_name(name) for name in names}) == len(names) else None


def _own(frame: Any) -> Any:
    # Cameras like to fill one buffer again and again, while clips hold several frames.
    if isinstance(frame, np.ndarray):
        return frame.copy()
    return frame.clone() if isinstance(frame, torch.Tensor) else frame
