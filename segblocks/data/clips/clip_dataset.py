"""Training clips of several datasets, by draw."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from segblocks.data.clips.clip import TrainingClip
from segblocks.data.clips.clip_arrays import ClipArrays, read_clip
from segblocks.data.clips.clip_rule import (
    CATEGORY_TASKS,
    CLIP_TASKS,
    HINT_TASKS,
    ClipChoice,
    ClipRule,
)
from segblocks.data.clips.clip_tasks import ask_by_class, ask_by_hint
from segblocks.data.clips.clip_transform import ClipTransform
from segblocks.data.clips.composites import CompositeVideos
from segblocks.data.dataset import VideoDataset
from segblocks.data.pseudo_video import PseudoVideos
from segblocks.data.sample import VideoSample
from segblocks.data.sampler import Draw, Source
from segblocks.data.synthetic import SyntheticWorld
from segblocks.tasks import RefVOS, Task

_ATTEMPTS = 20

# Set the chance of loading apart from what a clip's own seed is used for.
_LOADING, _CANDIDATES = 1, 2


@dataclass(frozen=True)
class ClipSource:
    """Say how clips are taken from a dataset, and how often.

    Args:
        dataset: of videos.
        rule: which frames, objects and hints a clip has.
        transform: what is done to it.
        weight: how often the dataset is taken, relative to the others.
        tasks: what it serves, of ``CLIP_TASKS``, and how often, relative to each other.
        length: number of videos of one pass; None counts the dataset's. An endless
            `SyntheticWorld` needs it.

    Raises:
        ValueError: an unknown task, one that needs classes which the dataset does not have, or a
            weight that is not positive.
    """

    dataset: VideoDataset
    rule: ClipRule = field(default_factory=ClipRule)
    transform: ClipTransform = field(default_factory=ClipTransform)
    weight: float = 1.0
    tasks: Mapping[str, float] = field(default_factory=dict)
    length: int | None = None

    def __post_init__(self) -> None:
        name = self.dataset.name
        if unknown := [task for task in self.tasks if task not in CLIP_TASKS]:
            raise ValueError(
                f"ClipSource {name}: tasks must be of {', '.join(CLIP_TASKS)}, got {unknown}"
            )
        lacking = [task for task in self.tasks if task in CATEGORY_TASKS]
        if self.dataset.vocabulary is None and lacking:
            raise ValueError(f"ClipSource {name}: the dataset has no classes, which {lacking} need")
        self.sampled()

    def sampled(self) -> Source:
        """Return what a `MixtureSampler` knows of it."""
        length = len(self.dataset) if self.length is None else self.length
        return Source(length, self.weight, self.tasks)

    def index(self, video: int, repeat: int) -> int:
        """Return the number in the dataset of a video of a pass; endless ones have fresh videos."""
        dataset = self.dataset
        endless = isinstance(dataset, PseudoVideos | CompositeVideos) or (
            isinstance(dataset, SyntheticWorld) and dataset.length is None
        )
        return video + repeat * self.sampled().length if endless else video


class ClipDataset(Dataset[TrainingClip]):
    """Give the training clip of each draw of a sampler.

    A clip depends on the seed and the draw alone: not on worker, process or order. A video without
    anything suitable for the task is replaced by another of its dataset, the same every time.
    Batches are lists, since clips differ in size and objects: give a loader ``collate_fn=list``.

    Args:
        sources: the datasets, in the order in which draws count them.
        seed: of all chance.

    Raises:
        ValueError: no sources, or a negative seed.

    Example:
        >>> from segblocks.data.synthetic import SyntheticWorld, world_config
        >>> from segblocks.data.sampler import MixtureSampler
        >>> world = SyntheticWorld(world_config("tiny"), length=4)
        >>> dataset = ClipDataset([ClipSource(world, tasks={"vis": 1.0})])
        >>> sampler = MixtureSampler(dataset.sources_for_sampler(), batch_size=2, num_iterations=3)
        >>> loader = torch.utils.data.DataLoader(dataset, batch_sampler=sampler, collate_fn=list)
        >>> [clip.frames.shape for clip in next(iter(loader))]
        [torch.Size([3, 3, 48, 64]), torch.Size([3, 3, 48, 64])]
    """

    def __init__(self, sources: Sequence[ClipSource], seed: int = 0) -> None:
        if not sources or seed < 0:
            raise ValueError(
                "ClipDataset: there must be a source and a seed of at least 0, "
                f"got {len(sources)} and {seed}"
            )
        self.sources = tuple(sources)
        self.seed = int(seed)

    def sources_for_sampler(self) -> list[Source]:
        """Return what a `MixtureSampler` knows of the sources."""
        return [source.sampled() for source in self.sources]

    def __getitem__(self, draw: Draw) -> TrainingClip:
        """Return the clip of a draw.

        Raises:
            ValueError: none of several videos has anything suitable for the task.
        """
        source = self.sources[draw.dataset]
        seed = (self.seed, draw.dataset, draw.video, draw.repeat)
        tried: list[str] = []
        for attempt, video in enumerate(_candidates(source, draw, seed)):
            rng = np.random.default_rng([*seed, _LOADING, attempt])
            sample = source.dataset[source.index(video, draw.repeat)]
            clip = _make_clip(rng, source, sample, draw.task, seed)
            if clip is not None:
                return clip
            tried.append(sample.name)
        raise ValueError(
            f"{source.dataset.name}: {len(tried)} videos in a row had nothing for the task "
            f"{draw.task!r}, which needs {source.rule.num_frames} annotated frames within reach "
            f"and something to segment; {tried[-1]!r} was the last, under {source.rule}"
        )


def _candidates(source: ClipSource, draw: Draw, seed: tuple[int, ...]) -> Iterator[int]:
    """The video of a draw, then others in random order."""
    yield draw.video
    length = source.sampled().length
    rng = np.random.default_rng([*seed, _CANDIDATES])
    # Unlike a permutation, this costs nothing for a dataset of millions.
    order = rng.choice(length, min(length, _ATTEMPTS - 1), replace=False)
    # Round again where there are few, since another try takes other frames of a video.
    for attempt in range(_ATTEMPTS - 1):
        yield int(order[attempt % len(order)])


def _make_clip(
    rng: np.random.Generator,
    source: ClipSource,
    sample: VideoSample,
    task: str,
    seed: tuple[int, ...],
) -> TrainingClip | None:
    rule = source.rule
    choice = rule.choose(rng, sample, task)
    if choice is None:
        return None
    is_hinted = task in HINT_TASKS
    arrays = read_clip(sample, choice, task, rule.min_area)
    arrays = source.transform(rng, arrays, reference=choice.reference if is_hinted else None)
    # What cropping and resizing have removed cannot be asked for.
    left = arrays.masks[:, choice.reference] if is_hinted else arrays.masks
    kept = np.flatnonzero(left.any(axis=tuple(range(1, left.ndim)))).tolist()
    if not kept and task != "vss":
        return None
    tasks, order = _ask(rng, task, rule, sample, choice, arrays, kept)
    labels = None
    if task != "refvos":
        labels = _labels(sample, [choice.targets[i][0] for i in order])
    return TrainingClip(
        sample.name,
        _tensor(arrays.frames.transpose(0, 3, 1, 2)),
        tasks,
        _tensor(arrays.masks[order]),
        labels,
        None if arrays.semantic is None else _tensor(arrays.semantic).long(),
        None if arrays.ignore is None else _tensor(arrays.ignore),
        sample.vocabulary,
        choice.frames,
        seed,
    )


def _ask(
    rng: np.random.Generator,
    task: str,
    rule: ClipRule,
    sample: VideoSample,
    choice: ClipChoice,
    arrays: ClipArrays,
    kept: list[int],
) -> tuple[tuple[Task, ...], list[int]]:
    """The tasks of a clip, and the order of its targets."""
    if task == "refvos":
        return (RefVOS([choice.sentences[i] for i in kept]),), kept
    if task in CATEGORY_TASKS:
        return ask_by_class(task, sample.vocabulary, sample.name), kept
    ids = [choice.targets[i][0] for i in kept]
    masks = arrays.masks[kept, choice.reference]
    tasks, order = ask_by_hint(rng, task, rule, choice.reference, masks, ids)
    return tasks, [kept[i] for i in order]


def _labels(sample: VideoSample, ids: list[int]) -> Tensor | None:
    known = {info.id: info.label for info in sample.objects}
    labels: list[Any] = [known[i] for i in ids]
    if sample.vocabulary is None or None in labels:
        return None
    return torch.tensor(labels, dtype=torch.int64)


def _tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array))
