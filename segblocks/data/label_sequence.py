"""The objects of a video as label maps, one PNG a frame, as DAVIS and its kin keep them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from segblocks.data.files import list_folder, read_ids, write_picture
from segblocks.data.sample import Mask, Truth, VideoSample
from segblocks.label_files import write_label_map
from segblocks.ops.label_map import label_map_from_masks

#: What DAVIS' tools take for "not judged" in pictures of 8 bits.
VOID = 255
_MAX_ID = 65535


@dataclass(frozen=True)
class LabelFiles:
    """Read which objects a frame shows, from a palette or grayscale PNG of their ids.

    Args:
        paths: annotated frame -> PNG.
        size: (H, W) of the frames.
        void: a value of 8-bit pictures that is no object but marks what is not judged, or None.
        merge: take all values but 0 for one object, of id 1, as DAVIS 2016 does; none is void.
        known: the ids that may occur, or None for any.
        known_from: the file that lists them, for messages.
    """

    paths: Mapping[int, Path]
    size: tuple[int, int]
    void: int | None = None
    merge: bool = False
    known: frozenset[int] | None = None
    known_from: str = ""

    def __call__(self, t: int) -> Truth:
        """Return the annotation of frame ``t``.

        Raises:
            FileNotFoundError: the PNG is gone.
            ValueError: frame ``t`` is not annotated, or the PNG is broken, of another size, or
                holds an id that the dataset does not list.
        """
        labels, void = self._labels(t)
        ids = _present(labels)
        return Truth(ids, labels[None] == np.array(ids, np.int64)[:, None, None], ignore=void)

    def ids(self, t: int) -> tuple[int, ...]:
        """Return the ids in frame ``t``, ascending, which takes less time than the masks."""
        return _present(self._labels(t)[0])

    def first_frames(self) -> dict[int, int]:
        """Return for every object the first annotated frame that shows it, ascending by id."""
        first: dict[int, int] = {}
        for t in sorted(self.paths):
            for number in self.ids(t):
                first.setdefault(number, t)
        return dict(sorted(first.items()))

    def _labels(self, t: int) -> tuple[NDArray[np.int64], Mask | None]:
        if t not in self.paths:
            raise ValueError(f"frame {t} has no annotation; annotated are {sorted(self.paths)}")
        path = self.paths[t]
        labels = read_ids(path, self.size, channels=1)
        if self.merge:
            return (labels > 0).astype(np.int64), None
        void = None
        if self.void is not None and (labels == self.void).any() and not _is_deep(path):
            void = labels == self.void
            labels = np.where(void, 0, labels)
        self._check_known(labels, path)
        return labels, void

    def _check_known(self, labels: NDArray[np.int64], path: Path) -> None:
        if self.known is None:
            return
        if stray := sorted(set(_present(labels)) - self.known):
            raise ValueError(
                f"{path}: holds the object ids {stray}, which {self.known_from} does not list "
                f"(it lists {sorted(self.known)})"
            )


class FirstFrames:
    """Remember of each video which frame shows an object first, since that takes all its PNGs."""

    def __init__(self) -> None:
        self._known: dict[str, dict[int, int]] = {}

    def find(self, video: str, labels: LabelFiles) -> dict[int, int]:
        """Return for every object the first annotated frame that shows it.

        Args:
            video: its name; the PNGs of a video that was asked for before are not read again.
            labels: reads its PNGs.
        """
        if video not in self._known:
            self._known[video] = labels.first_frames()
        return dict(self._known[video])


def match_labels(frames: tuple[Path, ...], folder: Path) -> dict[int, Path]:
    """Find which frames have a PNG of the same name.

    Args:
        frames: of the video, in order.
        folder: of its PNGs; one that does not exist has none.

    Returns:
        Frame index -> PNG, ascending.

    Raises:
        FileNotFoundError: a PNG has no frame.
    """
    if not folder.is_dir():
        return {}
    numbers = {path.stem: t for t, path in enumerate(frames)}
    labels: dict[int, Path] = {}
    for path in list_folder(folder):
        if path.suffix.lower() != ".png":
            continue
        if path.stem not in numbers:
            raise FileNotFoundError(
                f"{path}: the frame {path.stem} that this annotates is missing in "
                f"{frames[0].parent}"
            )
        labels[numbers[path.stem]] = path
    return dict(sorted(labels.items()))


def judged_frames(
    labels: Mapping[int, Path],
    hint_frames: Mapping[int, int],
    frames: tuple[Path, ...],
    *,
    expected: Iterable[int] | None = None,
    allow_missing: bool = False,
) -> tuple[int, ...]:
    """Return the annotated frames, or none where a dataset gives hints and keeps the rest.

    Test sets come with the frames in which objects start and nothing else, or without any PNG; in
    those frames, the objects that started earlier are not drawn.

    Args:
        labels: annotated frame -> PNG.
        hint_frames: object id -> its first frame.
        frames: picture files.
        expected: the frames that must have a PNG otherwise; None for all.
        allow_missing: take the PNGs that are there.

    Raises:
        FileNotFoundError: some PNGs are missing.
    """
    if set(labels) <= set(hint_frames.values()) and len(labels) < len(frames):
        return ()
    return complete_frames(labels, frames, expected=expected, allow_missing=allow_missing)


def complete_frames(
    labels: Mapping[int, Path],
    frames: tuple[Path, ...],
    *,
    expected: Iterable[int] | None = None,
    allow_missing: bool = False,
) -> tuple[int, ...]:
    """Return the annotated frames of a layout in which all have a PNG, or none.

    Args:
        labels: annotated frame -> PNG.
        frames: picture files.
        expected: the frames that must have a PNG; None for all.
        allow_missing: take the PNGs that are there.

    Raises:
        FileNotFoundError: some PNGs are missing, which would change scores unnoticed.
    """
    wanted = set(range(len(frames)) if expected is None else expected)
    missing = sorted(wanted - set(labels))
    if missing and labels and not allow_missing:
        folder = next(iter(labels.values())).parent
        raise FileNotFoundError(
            f"{folder / frames[missing[0]].stem}.png: no such annotation, the first of "
            f"{len(missing)} that are missing of {len(wanted)}; allow_missing=True judges the rest"
        )
    return tuple(sorted(labels))


def write_labels(
    folder: Path, sample: VideoSample, frame_names: tuple[str, ...], *, void: int | None
) -> None:
    """Write the annotations of a video as palette PNGs, or of 16 bits where an id needs it.

    Where objects overlap, the higher id is on top, and over all of them what is ignored.

    Args:
        folder: of the PNGs; it is made.
        sample: the video; its judged frames and its hint frames are written.
        frame_names: without suffix.
        void: what the layout's reader takes for ignored in pictures of 8 bits, or None where it
            knows no such value.

    Raises:
        ValueError: an id above 65535, or ignored pixels that the PNG cannot hold.
    """
    folder.mkdir(parents=True, exist_ok=True)
    highest = max((info.id for info in sample.objects), default=0)
    if highest > _MAX_ID:
        raise ValueError(f"{folder}: object ids must be at most {_MAX_ID}, got {highest}")
    # In 8 bits 255 is kept free, since many tools take it for void.
    deep = highest >= VOID
    for t in sorted({*sample.annotated, *sample.hint_frames.values()}):
        truth = sample.read_truth(t)
        labels = label_map_from_masks(truth.masks, truth.ids)
        path = folder / f"{frame_names[t]}.png"
        if truth.ignore is not None and truth.ignore.any():
            if void is None or deep:
                raise ValueError(
                    f"{path}: {int(truth.ignore.sum())} pixels of frame {t} of {sample.name!r} are "
                    "ignored, for which "
                    + ("this layout has no value" if void is None else "PNGs of 16 bits have none")
                )
            labels[truth.ignore] = void
        temporary = path.with_name(f".{path.name}.part")
        write_label_map(temporary, labels, max_id=VOID + 1 if deep else VOID)
        os.replace(temporary, path)


def write_frames(folder: Path, sample: VideoSample, suffix: str) -> tuple[str, ...]:
    """Write all frames of a video.

    Args:
        folder: of the pictures; it is made.
        sample: the video.
        suffix: ".jpg" as the official datasets, or ".png", which keeps the pixels.

    Returns:
        The names of the frames, without suffix.
    """
    for t, name in enumerate(sample.file_names):
        write_picture(folder / f"{name}{suffix}", sample.read_frame(t))
    return sample.file_names


def _present(labels: NDArray[np.int64]) -> tuple[int, ...]:
    present = np.flatnonzero(np.bincount(labels.ravel()))
    return tuple(present[present > 0].tolist())


def _is_deep(path: Path) -> bool:
    with Image.open(path) as image:
        return image.mode.startswith("I")
