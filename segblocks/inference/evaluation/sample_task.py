"""From a video of a dataset to what a model is asked."""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import NDArray

from segblocks.data.sample import VideoSample
from segblocks.inference.video import VideoReader
from segblocks.tasks import PET, VIS, VOS, VPS, VSS, RefVOS, Task
from segblocks.text.vocabulary import Vocabulary

_BY_CLASS = {"vis": VIS, "vps": VPS, "vss": VSS}


def task_of(sample: VideoSample, kind: str) -> Task | None:
    """Return the task that a benchmark sets for a video, from what it lets a model see.

    VIS, VPS and VSS ask for the classes of the video's vocabulary. VOS gives each object's mask in
    the frame where the object starts, PET the points that the dataset gives, both with the
    dataset's ids; RefVOS gives the sentences.

    Args:
        sample: the video.
        kind: name of the task, as a dataset's ``task``.

    Returns:
        The task, or None where the video asks for nothing (see `asks_nothing`).

    Raises:
        ValueError: the video lacks what the task needs, or no such kind.

    Example:
        >>> from segblocks.data.synthetic import SyntheticWorld, world_config
        >>> task_of(SyntheticWorld(world_config("tiny"))[0], "vos").name
        'vos'
    """
    if kind in _BY_CLASS:
        return _BY_CLASS[kind](_vocabulary(sample, kind))
    if kind == "refvos":
        return RefVOS([e.text for e in sample.expressions]) if sample.expressions else None
    if kind == "vos":
        masks, ids = _first_masks(sample)
        return VOS(masks, ids) if masks else None
    if kind == "pet":
        if not sample.points and sample.hint_frames:
            raise ValueError(
                f"video {sample.name!r}: the dataset gives no points, which the task 'pet' needs"
            )
        points = {t: np.array(list(found.values())) for t, found in sample.points.items() if found}
        named = {t: tuple(sample.points[t]) for t in points}
        return PET(points, named) if points else None
    raise ValueError(f"no video is made for the task {kind!r}")


def asks_nothing(sample: VideoSample, kind: str) -> bool:
    """Return whether a video has no object to follow and no sentence, so that there is no task.

    Args:
        sample: the video.
        kind: name of the task.
    """
    if kind == "refvos":
        return not sample.expressions
    return kind in ("vos", "pet") and not (sample.hint_frames or any(sample.points.values()))


def hints_of(sample: VideoSample) -> Task | None:
    """Return a task with the ids of all objects to follow, by points or else by masks."""
    return task_of(sample, "pet" if sample.points else "vos")


def open_sample(sample: VideoSample) -> VideoReader:
    """Return a reader of the frames of a video, which can be opened again.

    Args:
        sample: the video.
    """
    # Names of still pictures may hold folders, which names of frames cannot.
    plain = sample.frame_names and not any("/" in name for name in sample.frame_names)
    return VideoReader(
        map(sample.read_frame, range(sample.num_frames)),
        name=sample.name,
        fps=sample.fps,
        num_frames=sample.num_frames,
        reopen=partial(open_sample, sample),
        frame_names=sample.frame_names if plain else None,
        is_exact=True,
    )


def _vocabulary(sample: VideoSample, kind: str) -> Vocabulary:
    if sample.vocabulary is None:
        raise ValueError(f"video {sample.name!r}: has no classes, which the task {kind!r} needs")
    return sample.vocabulary


def _first_masks(
    sample: VideoSample,
) -> tuple[dict[int, NDArray[np.bool_]], dict[int, tuple[int, ...]]]:
    """Masks and ids of the objects that start in each frame."""
    masks, ids = {}, {}
    for t in sorted(set(sample.hint_frames.values())):
        truth = sample.read_truth(t)
        kept = [i for i, number in enumerate(truth.ids) if sample.hint_frames.get(number) == t]
        if not kept:
            raise ValueError(f"video {sample.name!r}: no object is seen in frame {t}, its first")
        masks[t] = truth.masks[kept]
        ids[t] = tuple(truth.ids[i] for i in kept)
    return masks, ids
