"""Which video of which dataset, for which task, in which iteration."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

# Apart from each other, so that no two decisions share their chance.
_CHOICE, _ORDER = 0, 1


class Draw(NamedTuple):
    """Say what one place of a batch holds.

    ``dataset`` is the number of the dataset, ``video`` of the video in it, ``task`` what to do with
    it. ``repeat`` counts how often the dataset was gone through before: with it, `PseudoVideos`
    show a still otherwise every time, ``videos[video + repeat * len(videos)]``.
    """

    dataset: int
    video: int
    task: str
    repeat: int


@dataclass(frozen=True)
class Source:
    """Describe a dataset that is sampled from.

    Args:
        length: number of its videos.
        weight: how often it is taken, relative to the others.
        tasks: what it serves, and how often, relative to each other.

    Raises:
        ValueError: a length, weight or task weight that is not positive, or no task.
    """

    length: int
    weight: float
    tasks: Mapping[str, float]

    def __post_init__(self) -> None:
        weights = (self.weight, *self.tasks.values())
        if self.length < 1 or not self.tasks or not all(0 < w < float("inf") for w in weights):
            raise ValueError(
                "Source: length, weight and the weight of each task must be positive and there "
                f"must be a task, got {self.length}, {self.weight}, {dict(self.tasks)}"
            )
        # Numbers of numpy would not go into the JSON of a state.
        object.__setattr__(self, "length", int(self.length))
        object.__setattr__(self, "weight", float(self.weight))
        object.__setattr__(self, "tasks", {str(k): float(w) for k, w in self.tasks.items()})


class MixtureSampler(Sampler[list[Draw]]):
    """Sample batches from several datasets for several tasks; the ``batch_sampler`` of a loader.

    Iterations come in chunks that share one dataset and one task, since batches of different tasks
    differ in shape and cost; all ranks agree on them, so that all ranks run the same layers. Every
    dataset is gone through in a new random order each time, and in one pass no two places of
    any batch of any rank hold the same video. The same seed gives the same batches, on one rank
    or spread over several.

    TarViS (Athar et al., CVPR 2023) is trained so, with chunks of 8 iterations, COCO, ADE20K,
    Cityscapes and Mapillary weighted 0.55, 0.2, 0.05 and 0.2, and VIS, VPS and VOS 0.3, 0.3, 0.4.

    Args:
        sources: the datasets, in the order in which `Draw` counts them.
        batch_size: places of a batch on this rank.
        num_iterations: batches, from the first to the end of training.
        chunk: iterations with one dataset and one task.
        rank: which process this is, of ``world_size``.
        world_size: number of processes.
        seed: of all chance; the same on all ranks.

    Raises:
        ValueError: no sources, a size that is not positive, or a rank out of range.

    Example:
        >>> sources = [Source(100, 0.8, {"vis": 1.0}), Source(50, 0.2, {"vos": 1.0})]
        >>> sampler = MixtureSampler(sources, batch_size=2, num_iterations=20)
        >>> batches = list(sampler)
        >>> len(batches), len(batches[0])
        (20, 2)
        >>> len({draw.task for batch in batches[:8] for draw in batch})
        1
    """

    def __init__(
        self,
        sources: Sequence[Source],
        *,
        batch_size: int,
        num_iterations: int,
        chunk: int = 8,
        rank: int = 0,
        world_size: int = 1,
        seed: int = 0,
    ) -> None:
        if not sources:
            raise ValueError("MixtureSampler: sources must hold at least one dataset, got none")
        if min(batch_size, num_iterations, chunk) < 1 or not 0 <= rank < world_size:
            raise ValueError(
                "MixtureSampler: batch_size, num_iterations and chunk must be positive and rank "
                f"below world_size, got {batch_size}, {num_iterations}, {chunk}, {rank} of "
                f"{world_size}"
            )
        self.sources = tuple(sources)
        self.batch_size, self.num_iterations = int(batch_size), int(num_iterations)
        self.chunk, self.seed = int(chunk), int(seed)
        self.rank, self.world_size = int(rank), int(world_size)
        self._iteration = 0
        # Which iterator may go on; all share one place.
        self._turn = 0
        self._orders: dict[int, tuple[int, NDArray[np.int64]]] = {}

    def __len__(self) -> int:
        """Number of batches that are still to come."""
        return self.num_iterations - self._iteration

    def __iter__(self) -> Iterator[list[Draw]]:
        """Give the batches that are still to come; after the last, begin anew.

        Raises:
            RuntimeError: a later iterator has begun, or a state was loaded; this one would repeat
                or leave out batches.
        """
        self._turn += 1
        turn = self._turn
        taken = self._count_taken(self._iteration)
        chosen = -1, 0, ""
        while self._iteration < self.num_iterations:
            number = self._iteration // self.chunk
            if chosen[0] != number:
                chosen = number, *self._choose(number)
            _, dataset, task = chosen
            first = taken[dataset] + self.rank
            taken[dataset] += self.batch_size * self.world_size
            self._iteration += 1
            yield [
                self._draw(dataset, task, first + place * self.world_size)
                for place in range(self.batch_size)
            ]
            if turn != self._turn:
                raise RuntimeError(
                    "MixtureSampler: an earlier iterator cannot go on after another has begun or a "
                    "state was loaded; use one at a time"
                )
        self._iteration = 0

    def state_dict(self, iteration: int | None = None) -> dict[str, Any]:
        """Return where sampling stands, ready for JSON; the same for all ranks.

        Args:
            iteration: how many batches training has used; None counts those handed out, which are
                more while a loader fetches ahead.

        Raises:
            ValueError: more iterations than there are.
        """
        iteration = self._iteration if iteration is None else iteration
        if not 0 <= iteration <= self.num_iterations:
            raise ValueError(
                f"MixtureSampler: iteration must lie in 0..{self.num_iterations}, got {iteration}"
            )
        return {"iteration": int(iteration)} | self._identity()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where a state was taken.

        Raises:
            ValueError: the state is of a sampler with other datasets, batches, chunks or seed,
                which could not go on with the same videos, or has more iterations than there are.
        """
        for key, value in self._identity().items():
            if state.get(key) != value:
                raise ValueError(
                    f"MixtureSampler: the state has {key} {state.get(key)}, this sampler {value}"
                )
        iteration = state.get("iteration")
        if not isinstance(iteration, int) or not 0 <= iteration <= self.num_iterations:
            raise ValueError(
                f"MixtureSampler: the state's iteration must lie in 0..{self.num_iterations}, "
                f"got {iteration!r}"
            )
        self._iteration = iteration
        self._turn += 1

    def _identity(self) -> dict[str, Any]:
        """What decides the batches of all ranks together."""
        return {
            "seed": self.seed,
            "chunk": self.chunk,
            "total_batch_size": self.batch_size * self.world_size,
            "sources": [
                [s.length, s.weight, [list(task) for task in sorted(s.tasks.items())]]
                for s in self.sources
            ],
        }

    def _choose(self, chunk: int) -> tuple[int, str]:
        """The dataset and the task of a chunk."""
        rng = np.random.default_rng([self.seed, _CHOICE, chunk])
        dataset = _pick(rng, [source.weight for source in self.sources])
        tasks = sorted(self.sources[dataset].tasks.items())
        return dataset, tasks[_pick(rng, [weight for _, weight in tasks])][0]

    def _count_taken(self, iteration: int) -> list[int]:
        """How many videos of each dataset all ranks have taken before an iteration."""
        taken = [0] * len(self.sources)
        for start in range(0, iteration, self.chunk):
            used = min(self.chunk, iteration - start)
            dataset, _ = self._choose(start // self.chunk)
            taken[dataset] += used * self.batch_size * self.world_size
        return taken

    def _draw(self, dataset: int, task: str, count: int) -> Draw:
        """The video that is taken as number ``count`` from a dataset."""
        length = self.sources[dataset].length
        repeat, place = divmod(count, length)
        if self._orders.get(dataset, (-1,))[0] != repeat:
            rng = np.random.default_rng([self.seed, _ORDER, dataset, repeat])
            self._orders[dataset] = (repeat, rng.permutation(length))
        return Draw(dataset, int(self._orders[dataset][1][place]), task, repeat)


def _pick(rng: np.random.Generator, weights: Sequence[float]) -> int:
    total = np.cumsum(weights)
    return min(int(np.searchsorted(total, rng.random() * total[-1], "right")), len(total) - 1)
