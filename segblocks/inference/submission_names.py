"""What a submission file says besides the masks: names of the video, the dataset, the frames."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from segblocks.images import plain_name
from segblocks.inference.video import VideoReader
from segblocks.results import VideoSegmentation

_TASKS_WITH = {"video_id": ("vis", "vps", "pet"), "dataset": ("pet",), "split": ("pet",)}


@dataclass(frozen=True)
class SubmissionNames:
    """Name what is submitted.

    Args:
        video_id: of the video in its dataset, None where it was not given.
        video_name: that of its source, without folder and suffix.
        dataset: which it is from.
        split: of the dataset.
        frame_names: file name of each frame, such as ``00000.jpg``; None where frames have none.
        num_frames: of the video.
    """

    video_id: int | str | None
    video_name: str
    dataset: str
    split: str
    frame_names: tuple[str, ...] | None
    num_frames: int

    @property
    def image_names(self) -> tuple[str, ...]:
        """File name of each frame, with a suffix; ``00000.jpg``... where frames have no names."""
        names = self.frame_names or [f"{t:05d}" for t in range(self.num_frames)]
        return tuple(name if plain_name(name) != name else f"{name}.jpg" for name in names)

    @property
    def picture_names(self) -> tuple[str, ...]:
        """File name of each frame's picture of results."""
        return tuple(f"{plain_name(name)}.png" for name in self.image_names)

    @property
    def number(self) -> int | None:
        """The id of the video as a number.

        Raises:
            ValueError: it is none.
        """
        if isinstance(self.video_id, str | bool):
            raise ValueError(
                f"save: video_id must be a whole number for this format, got {self.video_id!r}"
            )
        return None if self.video_id is None else operator.index(self.video_id)


def submission_names(
    result: VideoSegmentation,
    *,
    video_id: int | str | None = None,
    dataset: str | None = None,
    split: str | None = None,
    frame_names: Sequence[str] | None = None,
) -> SubmissionNames:
    """Join what was given with what the source of a result knows.

    Args:
        result: that is to be written.
        video_id: as for ``save_result``, like all that follow.
        dataset: its name.
        split: its name.
        frame_names: one a frame.

    Raises:
        ValueError: something that no file of this task holds, or frame names that are not one a
            frame, repeat, or are no plain file names.
    """
    given = {"video_id": video_id, "dataset": dataset, "split": split}
    for name, value in given.items():
        if value is not None and result.task_name not in _TASKS_WITH[name]:
            tasks = ", ".join(_TASKS_WITH[name])
            raise ValueError(
                f"save: {name} has a place in the files of {tasks} only, this is {result.task_name}"
            )
    source = result.source if isinstance(result.source, VideoReader) else None
    if frame_names is None and source is not None:
        frame_names = source.frame_names
    return SubmissionNames(
        video_id,
        _video_name(source) if source else "video",
        dataset or "segblocks",
        split or "",
        None if frame_names is None else _check_names(frame_names, result.num_frames),
        result.num_frames,
    )


def _video_name(source: VideoReader) -> str:
    path = source.path or Path(source.name)
    return path.name if path.is_dir() else path.stem


def _check_names(names: Sequence[str], num_frames: int) -> tuple[str, ...]:
    if isinstance(names, str) or len(names) != num_frames:
        got = repr(names) if isinstance(names, str) else len(names)
        raise ValueError(f"save: frame_names must be {num_frames} names, one a frame, got {got}")
    seen: set[str] = set()
    for name in names:
        plain = isinstance(name, str) and name == Path(name).name and not name.startswith(".")
        if not plain or not name:
            raise ValueError(f"save: frame_names must be plain file names, got {name!r}")
        if plain_name(name) in seen:
            raise ValueError(f"save: frame_names must differ, got {plain_name(name)!r} twice")
        seen.add(plain_name(name))
    return tuple(names)
