"""A result as one HTML file: its frames, its masks, and when each track is seen."""

from __future__ import annotations

import base64
import io
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from segblocks._files import expand, write_atomically
from segblocks.ops.rle import encode, to_coco
from segblocks.results import VideoSegmentation
from segblocks.viz.colors import id_color

#: At most so many frames, evenly over the video.
MAX_FRAMES = 150
#: Pixels of the longer side, to which larger frames are reduced.
MAX_SIDE = 640

_QUALITY = 85
# Where the source states no speed; slow enough to look.
_FPS = 10.0
_PLACE = "__REPORT__"


def write_report(
    path: str | os.PathLike[str],
    result: VideoSegmentation,
    frames: Iterable[NDArray[np.uint8]],
    *,
    title: str = "segblocks",
    fps: float | None = None,
    max_frames: int = MAX_FRAMES,
    max_side: int = MAX_SIDE,
) -> Path:
    """Write a result as one HTML file that a browser shows without a network.

    It holds pictures and masks, a slider over the frames, and the tracks with label, score, colour
    and the frames that show them; a click hides a track. Results with semantic maps list their
    classes, too. Colours are those of :func:`~segblocks.viz.draw_result`.

    The file holds at most ``max_frames`` JPEG pictures of at most ``max_side`` pixels a side, and
    for each the run lengths of its masks, however long and large the video is.

    Args:
        path: the file; an existing one is replaced.
        result: of any task.
        frames: of its video, all of them in order, RGB (H, W, 3); read one at a time.
        title: what the page calls the video.
        fps: frames per second of the video, for the speed of playing.
        max_frames: of the video; where it has more, evenly spread ones are taken.
        max_side: pixels; larger pictures are reduced, and masks with them.

    Returns:
        ``path``.

    Raises:
        ValueError: a limit below 1, or frames that are not those of the result.
        OSError: the file cannot be written.

    Example:
        >>> import tempfile
        >>> from segblocks.results import VideoSegmentationBuilder
        >>> from segblocks.tasks import VOS
        >>> frames = np.zeros((1, 8, 8, 3), np.uint8)
        >>> result = VideoSegmentationBuilder((8, 8), VOS(np.ones((1, 8, 8), bool))).finish(1)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_report(f"{folder}/report.html", result, frames).name
        'report.html'
    """
    if max_frames < 1 or max_side < 1:
        raise ValueError(
            "write_report: max_frames and max_side must be at least 1, "
            f"got {max_frames} and {max_side}"
        )
    path = expand(path)
    report = _Report(result, _shown_size(result.size, max_side))
    chosen = _spread(result.num_frames, max_frames)
    for t, frame in _choose(frames, chosen, result):
        report.add(t, frame)
    page = resources.files("segblocks.viz").joinpath("report.html").read_text(encoding="utf-8")
    content = report.content(title, fps)
    # A class name must not be able to end the script.
    text = json.dumps(content, separators=(",", ":")).replace("<", "\\u003c")
    page = page.replace(_PLACE, text)
    write_atomically(path, lambda name: _write(name, page))
    return path


@dataclass
class _Row:
    """What the page lists: a track, or a class of the semantic map."""

    name: str
    color: tuple[int, int, int]
    score: float | None
    masks: dict[int, str] = field(default_factory=dict)


class _Report:
    """Collect the frames of a page."""

    def __init__(self, result: VideoSegmentation, size: tuple[int, int]) -> None:
        self.result = result
        self.size = size
        self.frames: list[dict[str, Any]] = []
        self.rows: dict[int, _Row] = {}
        if not result.has_semantic:
            for track in result.tracks:
                name = f"{track.label or ''} {track.id}".lstrip()
                self.rows[track.id] = _Row(name, id_color(track.id), track.score)

    def add(self, t: int, frame: NDArray[np.uint8]) -> None:
        """Take in frame ``t``."""
        place = len(self.frames)
        self.frames.append({"index": t, "image": _as_jpeg(frame, self.size)})
        for number, mask in self._masks(t):
            small = mask[_nearest(mask.shape[0], self.size[0])][
                :, _nearest(mask.shape[1], self.size[1])
            ]
            if small.any():
                self.rows[number].masks[place] = to_coco(encode(small))["counts"]

    def content(self, title: str, fps: float | None) -> dict[str, Any]:
        """What the page reads; ``order`` lists the rows from the lowest to the topmost."""
        rows = [self.rows[number] for number in self._listed()]
        scores = [-np.inf if row.score is None else row.score for row in rows]
        step = self.result.num_frames / len(self.frames)
        return {
            "title": title,
            "facts": self._facts(),
            "shown": self.size,
            "num_frames": self.result.num_frames,
            "interval": round(1000 * step / (fps or _FPS)),
            "frames": self.frames,
            "order": np.argsort(scores, kind="stable").tolist(),
            "rows": [
                {
                    "name": row.name,
                    "color": row.color,
                    "score": None if row.score is None else f"{row.score:.2f}",
                    "masks": [row.masks.get(place) for place in range(len(self.frames))],
                }
                for row in rows
            ],
        }

    def _masks(self, t: int) -> Iterator[tuple[int, NDArray[np.bool_]]]:
        """What each row has of a frame, and rows for segments that were not seen before."""
        if not self.result.has_semantic:
            frame = self.result.frame(t)
            yield from zip(frame.ids, frame.masks, strict=True)
            return
        ids, segments = self.result.panoptic(t)
        for segment in segments:
            name = (
                segment.label if segment.track_id is None else f"{segment.label} {segment.track_id}"
            )
            self.rows.setdefault(segment.id, _Row(name, id_color(segment.id), segment.score))
            yield segment.id, ids == segment.id

    def _listed(self) -> list[int]:
        """Rows in the order of the result; tracks of panoptic results come before classes."""
        if not self.result.has_semantic or self.result.vocabulary is None:
            return list(self.rows)
        first = len(self.result.vocabulary) + 1
        return sorted(self.rows, key=lambda number: (number < first, number))

    def _facts(self) -> str:
        height, width = self.result.size
        frames = f"{self.result.num_frames} frames"
        if len(self.frames) < self.result.num_frames:
            frames = f"{len(self.frames)} of {frames}"
        return (
            f"{self.result.task_name}, {frames}, {width}x{height}, {len(self.result.tracks)} tracks"
        )


def _choose(
    frames: Iterable[NDArray[np.uint8]], chosen: list[int], result: VideoSegmentation
) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    wanted, count = set(chosen), 0
    for t, frame in enumerate(frames):
        if frame.shape[:2] != result.size:
            raise ValueError(
                f"write_report: frames must be {result.size} like the result, got {frame.shape[:2]}"
            )
        if t in wanted:
            yield t, frame
        count = t + 1
        if count == result.num_frames:
            return
    raise ValueError(
        f"write_report: frames must be the {result.num_frames} of the result, got {count}"
    )


def _spread(num_frames: int, most: int) -> list[int]:
    return (
        np.unique(np.linspace(0, num_frames - 1, min(num_frames, most)).round())
        .astype(int)
        .tolist()
    )


def _shown_size(size: tuple[int, int], max_side: int) -> tuple[int, int]:
    scale = min(1.0, max_side / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _nearest(size: int, shown: int) -> NDArray[np.int64]:
    """The pixel of ``size`` that each of ``shown`` shows."""
    return ((np.arange(shown) + 0.5) * size / shown).astype(np.int64)


def _as_jpeg(frame: NDArray[np.uint8], size: tuple[int, int]) -> str:
    image = Image.fromarray(frame)
    height, width = size
    if image.size != (width, height):
        image = image.resize((width, height), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode("ascii")


def _write(name: str, page: str) -> None:
    Path(name).write_text(page, encoding="utf-8")
