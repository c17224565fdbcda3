"""DAVIS 2016 and 2017: frames and palette PNGs in folders, videos listed by split."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from segblocks.data.files import (
    FrameFiles,
    check_folder_name,
    first_existing,
    picture_size,
    read_names,
    write_names,
)
from segblocks.data.indexed import IndexedVideos
from segblocks.data.label_sequence import (
    VOID,
    FirstFrames,
    LabelFiles,
    judged_frames,
    match_labels,
    write_frames,
    write_labels,
)
from segblocks.data.sample import ObjectInfo, VideoSample
from segblocks.images import list_images

_FPS = 24.0


class DAVISDataset(IndexedVideos):
    """Read DAVIS, and other videos in its layout.

    ``ImageSets/<year>/<split>.txt`` lists the videos, ``JPEGImages/<resolution>/<video>`` holds
    the frames and ``Annotations/<resolution>/<video>`` palette PNGs of the object ids. Objects may
    appear late; each one's hint frame is the first that shows it. To know the objects, all PNGs of
    a video are read once, when it is first asked for. In the 8-bit PNGs of 2017, 255 is not judged.
    Where only hint frames have a PNG, as in test-dev, `VideoSample.annotated` is empty.

    Args:
        root: the folder that holds ``JPEGImages``.
        split: such as "train", "val" or "test-dev".
        year: 2016 merges all objects of a video into one of id 1, 2017 keeps them apart.
        resolution: "480p" or "Full-Resolution".
        allow_missing: judge the frames that have a PNG where others of the video have none.
        name: of the dataset; None takes ``davis<year>``.

    Raises:
        FileNotFoundError: there is no list of this split, or a listed video has no frames, or PNGs
            of some alone, which is found when it is read.
        ValueError: another year.

    Example:
        >>> dataset = DAVISDataset("DAVIS", split="val")  # doctest: +SKIP
        >>> dataset[0].name, dataset[0].hint_frames  # doctest: +SKIP
        ('bike-packing', {1: 0, 2: 0})
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        *,
        split: str = "val",
        year: int = 2017,
        resolution: str = "480p",
        allow_missing: bool = False,
        name: str | None = None,
    ) -> None:
        if year not in (2016, 2017):
            raise ValueError(f"DAVISDataset: year must be 2016 or 2017, got {year}")
        self.root = Path(root)
        self.year = year
        self.resolution = resolution
        self.allow_missing = allow_missing
        super().__init__(name or f"davis{year}", "vos", list_videos(self.root, split, year))
        self._first_frames = FirstFrames()
        for video in self.names:
            folder = self.root / "JPEGImages" / resolution / video
            if not folder.is_dir():
                raise FileNotFoundError(f"{folder}: no frames of the video {video!r} of {split!r}")

    def _read(self, index: int) -> VideoSample:
        video = self.names[index]
        frames = tuple(list_images(self.root / "JPEGImages" / self.resolution / video))
        size = picture_size(frames[0])
        labels = LabelFiles(
            match_labels(frames, self.root / "Annotations" / self.resolution / video),
            size,
            void=VOID,
            merge=self.year == 2016,
        )
        first = self._first_frames.find(video, labels)
        return scanned_sample(
            video,
            frames,
            labels,
            first,
            fps=_FPS,
            allow_missing=self.allow_missing,
        )


def scanned_sample(
    name: str,
    frames: tuple[Path, ...],
    labels: LabelFiles,
    first_frames: Mapping[int, int],
    *,
    fps: float | None = None,
    allow_missing: bool = False,
) -> VideoSample:
    """Put together a video whose objects are known from its PNGs alone.

    Args:
        name: of the video.
        frames: picture files.
        labels: reads the PNGs.
        first_frames: object id -> the first frame that shows it.
        fps: frames a second, or None.
        allow_missing: take the PNGs that are there, where others are missing.

    Raises:
        FileNotFoundError: some PNGs are missing; see `judged_frames`.
    """
    return VideoSample(
        name,
        len(frames),
        labels.size,
        FrameFiles(frames, labels.size),
        labels,
        judged_frames(labels.paths, first_frames, frames, allow_missing=allow_missing),
        tuple(ObjectInfo(number) for number in sorted(first_frames)),
        hint_frames=dict(first_frames),
        frame_names=tuple(path.stem for path in frames),
        fps=fps,
    )


def list_videos(root: Path, split: str, year: int) -> list[str]:
    """Return the videos that DAVIS lists for a split.

    The first release of DAVIS 2016 lists the frames instead, as paths with the video's folder.

    Raises:
        FileNotFoundError: there is no list.
    """
    places = [f"ImageSets/{year}/{split}.txt", f"ImageSets/{split}.txt"]
    if year == 2016:
        places.insert(1, f"ImageSets/480p/{split}.txt")
    lines = read_names(first_existing(root, places))
    names = [Path(line.split()[0]).parent.name if "/" in line else line for line in lines]
    return list(dict.fromkeys(names))


def write_davis(
    samples: Iterable[VideoSample],
    root: str | os.PathLike[str],
    split: str = "val",
    *,
    year: int = 2017,
    resolution: str = "480p",
    suffix: str = ".jpg",
) -> None:
    """Write videos in the layout of DAVIS.

    Where objects overlap, the higher id is on top. Ids above 254 make PNGs of 16 bits.

    Args:
        samples: the videos, one in memory at a time.
        root: folder of the dataset; it is made.
        split: whose list the videos go into; an earlier list is replaced.
        year: 2016 or 2017, in the list's place; 2016 knows no ignored pixels.
        resolution: name of the folder below ``JPEGImages`` and ``Annotations``.
        suffix: ".jpg", or ".png", which keeps the pixels.

    Raises:
        ValueError: ignored pixels in 2016 or in PNGs of 16 bits, or a name with a slash.
    """
    root = Path(root)
    names = []
    for sample in samples:
        check_folder_name(sample.name, "write_davis")
        frame_names = write_frames(root / "JPEGImages" / resolution / sample.name, sample, suffix)
        folder = root / "Annotations" / resolution / sample.name
        write_labels(folder, sample, frame_names, void=VOID if year == 2017 else None)
        names.append(sample.name)
    write_names(root / "ImageSets" / str(year) / f"{split}.txt", names)
