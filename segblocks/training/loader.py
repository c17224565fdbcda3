"""Clips, batch by batch, loaded ahead of the training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch.utils.data import DataLoader

from segblocks.data.sampler import Draw, MixtureSampler, Source
from segblocks.training.interrupt import ignore_signals
from segblocks.training.random_state import seed_everything
from segblocks.training.settings import LoopSettings

# Sets the chance of loading apart from that of training.
_LOADING = 1


class ClipData(Protocol):
    """What the loop asks of a dataset, such as ``ClipDataset``."""

    def __getitem__(self, draw: Draw, /) -> Any: ...

    def sources_for_sampler(self) -> Sequence[Source]: ...


def make_sampler(
    dataset: ClipData, settings: LoopSettings, *, rank: int = 0, processes: int = 1
) -> MixtureSampler:
    """Make what chooses the clips of each step.

    Args:
        dataset: its sources are sampled.
        settings: of the loop.
        rank: which process this is.
        processes: that train together.
    """
    return MixtureSampler(
        dataset.sources_for_sampler(),
        batch_size=settings.step_size,
        num_iterations=settings.steps,
        chunk=settings.chunk,
        rank=rank,
        world_size=processes,
        seed=settings.seed,
    )


def make_loader(
    dataset: ClipData, sampler: MixtureSampler, settings: LoopSettings
) -> DataLoader[Any]:
    """Make the loader of lists of clips, each what one process sees in a step.

    Args:
        dataset: draw -> clip.
        sampler: what `make_sampler` returned.
        settings: of the loop.
    """
    return DataLoader(
        dataset,  # type: ignore[arg-type] - indexed with draws
        batch_sampler=sampler,
        collate_fn=list,
        num_workers=settings.workers,
        worker_init_fn=_Start(settings.seed, sampler.rank),
        # Its own, so that taking up a training does not move the generator that dropout draws from.
        generator=torch.Generator().manual_seed(settings.seed),
    )


@contextmanager
def loading(
    dataset: ClipData, sampler: MixtureSampler, settings: LoopSettings
) -> Iterator[Iterator[list[Any]]]:
    """Load batches; the processes that do end with the block, whatever ends it.

    Args:
        dataset: as of :func:`make_loader`, like what follows.
        sampler: what `make_sampler` returned.
        settings: of the loop.
    """
    batches: Any = iter(make_loader(dataset, sampler, settings))
    try:
        yield batches
    finally:
        # They outlast signals, so that Python would wait for them forever; and where an error ends
        # the block, its traceback keeps the iterator that would else take them along.
        if settings.workers:
            batches._shutdown_workers()


class _Start:
    """Begin a process that loads clips."""

    def __init__(self, seed: int, rank: int) -> None:
        self.seed, self.rank = seed, rank

    def __call__(self, worker: int) -> None:
        ignore_signals()
        seed_everything(self.seed, self.rank, worker, _LOADING)
