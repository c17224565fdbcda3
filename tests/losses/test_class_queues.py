from __future__ import annotations

import math
import multiprocessing
import socket
from collections import deque
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import distributed as dist

from segblocks.losses import ClassQueues

DIM = 3


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(st.integers(0, 2), max_size=9), max_size=6), st.integers(1, 5))
def test_queues_are_deques(steps: list[list[int]], length: int) -> None:
    queues = ClassQueues(3, DIM, length=length)
    oracle = [deque(maxlen=length) for _ in range(3)]
    count = 0
    for labels in steps:
        rows = torch.arange(count, count + len(labels)).float()[:, None].expand(-1, DIM)
        count += len(labels)
        queues.push(rows, torch.tensor(labels, dtype=torch.long))
        for row, label in zip(rows, labels, strict=True):
            oracle[label].append(float(row[0]))
    entries, classes = queues.stored()
    for label in range(3):
        assert sorted(entries[classes == label, 0].tolist()) == sorted(oracle[label])


def test_the_loss_is_that_of_the_loop() -> None:
    torch.manual_seed(0)
    queues = ClassQueues(3, DIM, length=4)
    stored, classes = torch.randn(6, DIM), torch.tensor([0, 0, 1, 0, 1, 1])
    queues.push(stored, classes)
    embeddings = torch.randn(4, DIM, requires_grad=True)
    labels = torch.tensor([0, 1, 0, 2])
    found = queues(embeddings, labels)
    keys = [*zip(stored, classes.tolist(), strict=True)]
    keys += [*zip(embeddings.detach(), labels.tolist(), strict=True)]
    rows, squares = [], []
    for a, (anchor, label) in enumerate(zip(embeddings.detach(), labels.tolist(), strict=True)):
        others = [(k, c) for n, (k, c) in enumerate(keys) if n != 6 + a]
        gaps = [
            float(anchor @ n - anchor @ p)
            for p, cp in others
            for n, cn in others
            if cp == label != cn
        ]
        if gaps:
            rows.append(math.log(1 + sum(map(math.exp, gaps)) / len(gaps)))
        squares += [
            (float(torch.cosine_similarity(anchor, k, dim=0)) - (c == label)) ** 2
            for k, c in others
        ]
    assert len(rows) == 3
    assert float(found.embedding.detach()) == pytest.approx(sum(rows) / len(rows), rel=1e-5)
    assert float(found.auxiliary.detach()) == pytest.approx(sum(squares) / len(squares), rel=1e-5)
    (found.embedding + found.auxiliary).backward()
    assert embeddings.grad is not None
    assert embeddings.grad.isfinite().all()


def test_classes_do_not_leak_and_entries_are_detached() -> None:
    queues = ClassQueues(3, DIM, length=4)
    embeddings = torch.randn(2, DIM, requires_grad=True)
    queues.push(embeddings, torch.tensor([1, 1]))
    assert queues.filled.tolist() == [0, 2, 0]
    assert not queues.entries[[0, 2]].any()
    assert not queues.entries.requires_grad


def test_nothing_to_compare_is_zero() -> None:
    queues = ClassQueues(3, DIM)
    embeddings = torch.randn(1, DIM, requires_grad=True)
    loss = queues(embeddings, torch.tensor([0]))
    assert (loss.embedding.item(), loss.auxiliary.item()) == (0, 0)
    (loss.embedding + loss.auxiliary).backward()
    none = queues(torch.zeros(0, DIM), torch.zeros(0, dtype=torch.long))
    assert float(none.embedding) == 0


def test_negatives_are_drawn() -> None:
    queues = ClassQueues(2, DIM, length=50, max_negatives=7)
    queues.push(torch.randn(60, DIM), torch.tensor([0, 1] * 30))
    candidates = torch.rand(3, 60) < 0.5
    drawn = queues._drawn(candidates, torch.Generator().manual_seed(0))
    assert drawn.sum(1).tolist() == [7, 7, 7]
    assert not (drawn & ~candidates).any()
    losses = [
        float(queues(torch.ones(1, DIM), torch.tensor([0]), generator=g).embedding)
        for g in (torch.Generator().manual_seed(s) for s in (0, 0, 1))
    ]
    assert losses[0] == losses[1] != losses[2]


def test_the_state_comes_back_and_goes_on_alike() -> None:
    queues, other = ClassQueues(2, DIM, length=3), ClassQueues(2, DIM, length=3)
    queues.push(torch.randn(5, DIM), torch.tensor([0, 0, 1, 0, 0]))
    other.load_state_dict(queues.state_dict())
    for each in (queues, other):
        torch.manual_seed(1)
        each.push(torch.randn(2, DIM), torch.tensor([0, 1]))
    assert torch.equal(other.entries, queues.entries)


def _one_of_two(rank: int, port: int, parts: list[Any], answers: Any) -> None:
    address = f"tcp://127.0.0.1:{port}"
    dist.init_process_group("gloo", init_method=address, rank=rank, world_size=2)
    queues = ClassQueues(2, DIM, length=3)
    for step in parts:
        embeddings, labels = step[rank]
        queues.push(torch.tensor(embeddings).view(-1, DIM), torch.tensor(labels, dtype=torch.long))
    answers.put(queues.entries.tolist())
    dist.destroy_process_group()


def test_two_processes_are_one_with_both_batches() -> None:
    whole = ClassQueues(2, DIM, length=3)
    parts = []
    for _ in range(3):
        embeddings, labels = torch.randn(4, DIM), torch.tensor([0, 1, 0, 0])
        whole.push(embeddings, labels)
        parts.append(
            [(embeddings[p].tolist(), labels[p].tolist()) for p in (slice(0, 1), slice(1, 4))]
        )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    processes = [
        context.Process(target=_one_of_two, args=(rank, port, parts, answers)) for rank in (0, 1)
    ]
    for process in processes:
        process.start()
    found = [answers.get(timeout=60) for _ in processes]
    for process in processes:
        process.join()
    for entries in found:
        torch.testing.assert_close(torch.tensor(entries), whole.entries)


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="length must be at least 1"):
        ClassQueues(2, DIM, length=0)
    with pytest.raises(ValueError, match=r"embeddings must be \(1, 3\)"):
        ClassQueues(2, DIM)(torch.zeros(1, 4), torch.tensor([0]))
