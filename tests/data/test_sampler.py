"""Batches of a mixture: shares, chunks, ranks, and going on where training stopped."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from itertools import islice
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader, Dataset

from segblocks.data.sampler import Draw, MixtureSampler, Source

SOURCES = (
    Source(40, 0.55, {"vis": 0.3, "vps": 0.3, "vos": 0.4}),
    Source(7, 0.25, {"vis": 0.3, "vps": 0.3, "vos": 0.4}),
    Source(100, 0.2, {"vos": 1}),
)


def make(num_iterations: int = 80, batch_size: int = 3, **options: Any) -> MixtureSampler:
    return MixtureSampler(SOURCES, batch_size=batch_size, num_iterations=num_iterations, **options)


def test_shares_are_the_weights() -> None:
    draws = [batch[0] for batch in make(20000, 1, chunk=2, seed=3)]
    counts = Counter(draw.dataset for draw in draws)
    tasks = Counter((draw.dataset, draw.task) for draw in draws)
    for number, source in enumerate(SOURCES):
        # Four standard deviations of 10,000 chunks.
        assert abs(counts[number] / 20000 - source.weight) < 4 * 0.5 / 100
        for task, weight in source.tasks.items():
            share = weight / sum(source.tasks.values())
            assert abs(tasks[number, task] / counts[number] - share) < 4 * 0.5 / 44


def test_chunks_share_dataset_and_task() -> None:
    batches = list(make(83))
    assert len(batches) == 83
    kinds = [
        {(d.dataset, d.task) for batch in batches[i : i + 8] for d in batch}
        for i in range(0, 83, 8)
    ]
    assert all(len(kind) == 1 for kind in kinds)
    assert len({next(iter(kind)) for kind in kinds}) > 3
    assert all(len(batch) == 3 for batch in batches)


def test_every_pass_takes_each_video_once() -> None:
    taken: dict[tuple[int, int], list[int]] = {}
    for draw in (draw for batch in make(400) for draw in batch):
        taken.setdefault((draw.dataset, draw.repeat), []).append(draw.video)
    last = {dataset: max(r for d, r in taken if d == dataset) for dataset in range(3)}
    assert last[1] > 10
    orders = set()
    for (dataset, repeat), videos in taken.items():
        assert len(set(videos)) == len(videos)
        if repeat < last[dataset]:
            assert sorted(videos) == list(range(SOURCES[dataset].length))
        if dataset == 1:
            orders.add(tuple(videos))
    assert len(orders) > 8


@settings(max_examples=15)
@given(world=st.integers(1, 5), batch=st.integers(1, 4), chunk=st.integers(1, 9))
def test_ranks_share_the_work(world: int, batch: int, chunk: int) -> None:
    ranks = [
        list(make(30, batch, chunk=chunk, rank=rank, world_size=world)) for rank in range(world)
    ]
    whole = list(make(30, batch * world, chunk=chunk))
    for parts, together in zip(zip(*ranks, strict=True), whole, strict=True):
        draws = [draw for part in parts for draw in part]
        assert len({(d.video, d.repeat) for d in draws}) == batch * world
        assert len({(d.dataset, d.task) for d in draws}) == 1
        assert sorted(draws) == sorted(together)


@pytest.mark.parametrize("stop", [0, 1, 8, 13, 79, 80])
def test_going_on_equals_not_stopping(stop: int) -> None:
    whole = list(make(seed=4))
    first = make(seed=4)
    begun = list(islice(iter(first), stop))
    state = json.loads(json.dumps(first.state_dict()))
    second = make(seed=4)
    second.load_state_dict(state)
    assert len(second) == 80 - stop
    assert begun + list(second) == whole
    # After the end it starts anew.
    assert list(second) == whole


def test_a_state_of_what_training_has_used() -> None:
    ahead = make()
    list(islice(iter(ahead), 20))
    later = make(rank=1, world_size=3, batch_size=1)
    later.load_state_dict(ahead.state_dict(iteration=11))
    assert next(iter(later))[0] == list(make())[11][1]
    with pytest.raises(ValueError, match=r"iteration must lie in 0\.\.80, got 81"):
        ahead.state_dict(81)


def test_one_iterator_at_a_time() -> None:
    whole = list(make())
    sampler = make()
    first = iter(sampler)
    begun = [next(first), next(first)]
    second = iter(sampler)
    # The second goes on where the first is, as after a loader that was left early.
    begun.append(next(second))
    assert begun == whole[:3]
    with pytest.raises(RuntimeError, match="an earlier iterator cannot go on"):
        next(first)
    assert list(second) == whole[3:]
    third = iter(sampler)
    next(third)
    sampler.load_state_dict(make().state_dict(7))
    with pytest.raises(RuntimeError, match="an earlier iterator cannot go on"):
        next(third)
    assert list(sampler) == whole[7:]


@pytest.mark.parametrize("iteration", [-1, 81, None, "3", 2.5])
def test_states_out_of_range(iteration: object) -> None:
    sampler = make()
    with pytest.raises(ValueError, match=rf"iteration must lie in 0\.\.80, got {iteration!r}"):
        sampler.load_state_dict(make().state_dict() | {"iteration": iteration})
    assert len(sampler) == 80
    sampler.load_state_dict(make().state_dict(80))
    assert list(sampler) == []


def test_numbers_of_numpy_go_into_json() -> None:
    def state(number: Any, real: Any) -> dict[str, Any]:
        source = Source(number(7), real(0.5), {"vis": real(1)})
        sampler = MixtureSampler(
            [source], batch_size=number(2), num_iterations=number(9), seed=number(3)
        )
        return sampler.state_dict(number(4))

    assert json.dumps(state(np.int64, np.float32)) == json.dumps(state(int, float))


def test_seeds_differ() -> None:
    assert list(make(seed=1)) == list(make(seed=1))
    assert list(make(seed=1)) != list(make(seed=2))


class Answers(Dataset[Draw]):
    def __getitem__(self, draw: Draw) -> Draw:
        return draw


def keep(batch: Sequence[Draw]) -> list[Draw]:
    return list(batch)


def test_loaders_take_it() -> None:
    loader = DataLoader(Answers(), batch_sampler=make(10), collate_fn=keep)
    assert len(loader) == 10
    assert list(loader) == list(make(10))


def test_errors() -> None:
    with pytest.raises(ValueError, match=r"sources must hold at least one dataset"):
        MixtureSampler([], batch_size=1, num_iterations=1)
    with pytest.raises(ValueError, match="rank below world_size, got 3, 80, 8, 2 of 2"):
        make(rank=2, world_size=2)
    with pytest.raises(ValueError, match="must be positive"):
        make(0)
    for broken in (
        (0, 1.0, {"vis": 1.0}),
        (3, 0.0, {"vis": 1.0}),
        (3, 1.0, {}),
        (3, 1.0, {"a": -1}),
    ):
        with pytest.raises(ValueError, match="weight of each task must be positive"):
            Source(*broken)
    with pytest.raises(ValueError, match="the state has seed 0, this sampler 1"):
        make(seed=1).load_state_dict(make().state_dict())
    with pytest.raises(ValueError, match="the state has total_batch_size 3, this sampler 6"):
        make(world_size=2).load_state_dict(make().state_dict())
