"""What all submission formats share."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

from segblocks.data.dataset import VideoDataset
from segblocks.data.files import list_folder
from segblocks.data.sample import VideoSample
from segblocks.results import VideoSegmentation

Videos: TypeAlias = Iterable[tuple[VideoSample, VideoSegmentation]]


class Submission(ABC):
    """The predictions for a dataset in the files that its benchmark takes.

    Args:
        place: the folder, or the one file of formats that are one.
        dataset: what they are predictions for.

    Raises:
        FileNotFoundError: the folder holds nothing of this format.
    """

    #: What the files are, for messages.
    layout: ClassVar[str]

    @abstractmethod
    def __init__(self, place: Path, dataset: VideoDataset) -> None: ...

    @abstractmethod
    def read(self, sample: VideoSample) -> VideoSegmentation:
        """Return the prediction for a video.

        Raises:
            FileNotFoundError: there is none, or a judged frame is missing.
            ValueError: a broken file, another size, or an id or category that is not known.
        """

    @abstractmethod
    def files(self, sample: VideoSample) -> list[Path]:
        """Return the files that hold the prediction for a video."""

    @classmethod
    @abstractmethod
    def write(cls, folder: Path, dataset: VideoDataset, videos: Videos) -> None:
        """Write the predictions for a dataset.

        Args:
            folder: that exists.
            dataset: what they are predictions for.
            videos: each video with its prediction, one in memory at a time.
        """


def find_root(place: Path, dataset: VideoDataset, folders: Iterable[str], layout: str) -> Path:
    """Return the folder in which the videos have theirs.

    Args:
        place: where to look.
        dataset: whose videos to look for.
        folders: of ``place`` that may be it, "" for itself.
        layout: what is expected, for the message.

    Raises:
        FileNotFoundError: no video has a folder.
    """
    for folder in folders:
        if any((place / folder / name).is_dir() for name in dataset.names):
            return place / folder
    raise nothing_there(place, dataset, layout)


def nothing_there(place: Path, dataset: VideoDataset, layout: str) -> FileNotFoundError:
    """Make the error for a folder that holds no predictions."""
    there = [path.name for path in list_folder(place)][:5] if place.is_dir() else []
    return FileNotFoundError(
        f"{place}: holds no predictions for {dataset.name}: expected {layout}, or folders of "
        f"segblocks results, one for each video such as {dataset.names[0]!r}; "
        f"there are {', '.join(there) or 'no files'}"
    )


def is_judged(sample: VideoSample, t: int) -> bool:
    """Return whether a prediction for frame ``t`` is needed to judge a video."""
    return t in sample.annotated and t > min(sample.hint_frames.values(), default=-1)


def video_files(folder: Path, suffix: str = ".png") -> list[Path]:
    """Return the files of a video's folder and of those in it.

    Raises:
        FileNotFoundError: there is no such folder.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: there is no prediction for this video")
    return sorted(folder.rglob(f"*{suffix}"))


def stream_json(path: Path, before: str, items: Iterable[Any], after: str) -> None:
    """Write a JSON file whose items are never all in memory.

    Args:
        path: the file.
        before: what opens the list, such as ``{"annotations": [``.
        items: of the list.
        after: what closes it.
    """
    with path.open("w", encoding="utf-8") as file:
        file.write(before)
        for i, item in enumerate(items):
            file.write(", " if i else "")
            json.dump(item, file, allow_nan=False)
        file.write(after)


def flatten(groups: Iterable[Iterable[Any]]) -> Iterator[Any]:
    """Yield the items of all groups."""
    for group in groups:
        yield from group
