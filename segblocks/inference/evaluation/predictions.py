"""Predictions that lie on disk: result folders of segblocks, or a benchmark's submission."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol
from urllib.parse import quote

from segblocks._files import expand, whole_folder
from segblocks.data.dataset import VideoDataset
from segblocks.data.sample import VideoSample
from segblocks.inference.evaluation.sample_task import asks_nothing
from segblocks.inference.evaluation.submissions import SUBMISSIONS
from segblocks.inference.evaluation.submissions.base import nothing_there, video_files
from segblocks.inference.result_file import RESULT_FILE
from segblocks.inference.writers import read_result
from segblocks.results import VideoSegmentation

#: Where an evaluation keeps the results of a model.
RESULTS = "predictions"


class Predictions(Protocol):
    """What can give the prediction for each video of a dataset."""

    def read(self, sample: VideoSample) -> VideoSegmentation:
        """Return the prediction for a video.

        Raises:
            FileNotFoundError: there is none.
            ValueError: it is broken.
        """
        ...

    def files(self, sample: VideoSample) -> list[Path]:
        """Return the files that hold the prediction for a video."""
        ...


class ResultFolders:
    """Read results that segblocks saved, one folder for each video.

    Args:
        root: in which each video has a folder of its name.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def read(self, sample: VideoSample) -> VideoSegmentation:
        """Return the prediction for a video; see `Predictions`."""
        folder = video_place(self.root, sample.name)
        if not (folder / RESULT_FILE).is_file():
            raise FileNotFoundError(f"{folder}: there is no prediction for this video")
        return read_result(folder)

    def files(self, sample: VideoSample) -> list[Path]:
        """Return the files that hold the prediction for a video."""
        folder = video_place(self.root, sample.name)
        return [folder / RESULT_FILE, *video_files(folder)]


def open_predictions(place: str | os.PathLike[str], dataset: VideoDataset) -> Predictions:
    """Open predictions for the videos of a dataset.

    Args:
        place: a folder of result folders named like the videos, such as that of an earlier
            evaluation, or a submission in the dataset's own format.
        dataset: what they are predictions for.

    Raises:
        FileNotFoundError: there is no such folder, or no prediction in it.
        ValueError: a file is broken.
    """
    place = expand(place)
    if not place.exists():
        raise FileNotFoundError(f"{place}: no such folder of predictions")
    for root in (place, place / RESULTS):
        if any((video_place(root, name) / RESULT_FILE).is_file() for name in dataset.names):
            return ResultFolders(root)
    if dataset.name in SUBMISSIONS:
        return SUBMISSIONS[dataset.name](place, dataset)
    raise nothing_there(place, dataset, "result.json in a folder for each video")


def write_submission(
    dataset: VideoDataset,
    predictions: str | os.PathLike[str],
    out: str | os.PathLike[str],
) -> Path:
    """Write predictions as the dataset's benchmark takes them.

    Args:
        dataset: what they are predictions for; every video needs one.
        predictions: what `open_predictions` opens, such as the folder of an evaluation.
        out: the folder to write, which appears whole or not at all.

    Returns:
        ``out``.

    Raises:
        FileNotFoundError: a video has no prediction.
        FileExistsError: ``out`` is there already.
        ValueError: the dataset has no submission format.

    Example:
        >>> from segblocks.data import open_dataset
        >>> mose = open_dataset("mose", "MOSE", split="val")  # doctest: +SKIP
        >>> write_submission(mose, "runs/mose", "mose_submission")  # doctest: +SKIP
    """
    if dataset.name not in SUBMISSIONS:
        raise ValueError(
            f"no submission format is known for {dataset.name!r}; known are those of "
            f"{', '.join(sorted(SUBMISSIONS))}"
        )
    out = expand(out)
    if out.exists():
        raise FileExistsError(f"{out}: is there already; choose another folder")
    source = open_predictions(predictions, dataset)

    def videos() -> Iterator[tuple[VideoSample, VideoSegmentation]]:
        for index in range(len(dataset)):
            sample = dataset[index]
            if not asks_nothing(sample, dataset.task):
                yield sample, source.read(sample)

    with whole_folder(out) as folder:
        SUBMISSIONS[dataset.name].write(folder, dataset, videos())
    return out


def video_place(root: Path, name: str) -> Path:
    """Return the place of a video right below a folder; slashes in its name become ``%2F``.

    Raises:
        ValueError: a name that is no name of a file.
    """
    if not name.strip("."):
        raise ValueError(f"a video cannot be called {name!r}")
    return root / quote(name, safe=" +,=@()[]")


def stamp_files(paths: list[Path]) -> str:
    """Return what changes when files are replaced or written to: names, sizes and times."""
    digest = hashlib.sha256()
    for path in paths:
        stat = path.stat()
        digest.update(f"{path}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()
