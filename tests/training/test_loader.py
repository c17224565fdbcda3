"""Batches of clips, each of a step of one process."""

from __future__ import annotations

import torch

from segblocks.training.loader import make_loader, make_sampler
from tests.training.tiny import TinyClips, make_settings

DATA = TinyClips()


def names(workers: int = 0, rank: int = 0, processes: int = 1, **changes: int) -> list[list[str]]:
    settings = make_settings(workers=workers, **changes)
    sampler = make_sampler(DATA, settings, rank=rank, processes=processes)
    loader = make_loader(DATA, sampler, settings)
    return [[clip.name for clip in batch] for batch in loader]


def test_a_batch_has_the_clips_of_a_step() -> None:
    assert [len(batch) for batch in names()] == [2] * 12
    assert [len(batch) for batch in names(accumulate=3)] == [6] * 12


def test_accumulating_and_sharing_draw_the_same_clips() -> None:
    whole = names(batch_size=8)
    assert names(batch_size=2, accumulate=4) == whole
    parts = [names(batch_size=2, accumulate=2, rank=rank, processes=2) for rank in range(2)]
    for batch, *shared in zip(whole, *parts, strict=True):
        assert sorted(batch) == sorted(shared[0] + shared[1])


def test_nothing_is_taken_from_the_generator_of_training() -> None:
    before = torch.get_rng_state()
    alone = names()
    assert names(workers=1) == alone
    assert torch.equal(torch.get_rng_state(), before)
