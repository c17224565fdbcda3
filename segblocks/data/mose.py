"""MOSE: the folders of DAVIS, one set of them for each split."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from segblocks.data.davis import scanned_sample
from segblocks.data.files import check_folder_name, list_folder, picture_size
from segblocks.data.indexed import IndexedVideos, split_folder, split_names
from segblocks.data.label_sequence import (
    FirstFrames,
    LabelFiles,
    match_labels,
    write_frames,
    write_labels,
)
from segblocks.data.sample import VideoSample
from segblocks.images import list_images


class MOSEDataset(IndexedVideos):
    """Read MOSE: ``<split>/JPEGImages/<video>`` and ``<split>/Annotations/<video>``.

    The validation set gives the first frame of each object alone, so that `VideoSample.annotated`
    is empty there. All PNGs of a video are read once, when it is first asked for, to know its
    objects.

    Args:
        root: the folder that holds ``train`` and ``valid``.
        split: "train" or "val".
        allow_missing: judge the frames that have a PNG where others of the video have none.
        name: of the dataset.

    Raises:
        FileNotFoundError: there is no folder of this split, or a video has PNGs of some frames
            alone, which is found when it is read.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        *,
        split: str = "val",
        allow_missing: bool = False,
        name: str = "mose",
    ) -> None:
        self.allow_missing = allow_missing
        self.folder = split_folder(Path(root), split)
        videos = [path.name for path in list_folder(self.folder / "JPEGImages") if path.is_dir()]
        super().__init__(name, "vos", videos)
        self._first_frames = FirstFrames()

    def _read(self, index: int) -> VideoSample:
        video = self.names[index]
        frames = tuple(list_images(self.folder / "JPEGImages" / video))
        paths = match_labels(frames, self.folder / "Annotations" / video)
        labels = LabelFiles(paths, picture_size(frames[0]))
        first = self._first_frames.find(video, labels)
        return scanned_sample(video, frames, labels, first, allow_missing=self.allow_missing)


def write_mose(
    samples: Iterable[VideoSample],
    root: str | os.PathLike[str],
    split: str = "val",
    *,
    suffix: str = ".jpg",
) -> None:
    """Write videos in the layout of MOSE.

    Where objects overlap, the higher id is on top. Ids above 254 make PNGs of 16 bits.

    Args:
        samples: the videos, one in memory at a time.
        root: folder of the dataset; it is made.
        split: "val" is written as ``valid``, as in the official dataset.
        suffix: ".jpg", or ".png", which keeps the pixels.

    Raises:
        ValueError: ignored pixels, which MOSE has none of, or a name with a slash.
    """
    folder = Path(root) / split_names(split)[0]
    for sample in samples:
        check_folder_name(sample.name, "write_mose")
        frame_names = write_frames(folder / "JPEGImages" / sample.name, sample, suffix)
        write_labels(folder / "Annotations" / sample.name, sample, frame_names, void=None)
