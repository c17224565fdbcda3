from __future__ import annotations

import multiprocessing
import socket
from typing import Any

import pytest
import torch
from torch import distributed as dist

from segblocks.nn import ClassQueries


def made(momentum: float = 0.9) -> ClassQueries:
    torch.manual_seed(0)
    return ClassQueries(4, 6, momentum=momentum, hidden_dim=8)


def test_the_first_write_copies_and_later_ones_move() -> None:
    classes = made()
    a, b, c = torch.randn(3, 6)
    classes.update(torch.stack((a, b, c)), torch.tensor([2, 0, 2]))
    torch.testing.assert_close(classes.means[2], (a + c) / 2)
    torch.testing.assert_close(classes.means[0], b)
    assert classes.seen.tolist() == [1, 0, 1, 0]
    before = classes.means.clone()
    classes.update(c[None], torch.tensor([0]))
    torch.testing.assert_close(classes.means[0], 0.9 * b + 0.1 * c)
    assert torch.equal(classes.means[1:], before[1:])
    classes.update(torch.zeros(0, 6), torch.zeros(0, dtype=torch.long))
    assert classes.seen.tolist() == [2, 0, 1, 0]


def test_queries_come_from_the_means_and_unseen_ones_are_learned() -> None:
    classes = made()
    for _ in range(10):
        classes.update(torch.randn(1, 6), torch.tensor([1]))
    classes.update(torch.randn(1, 6), torch.tensor([2]))
    queries = classes()
    torch.testing.assert_close(queries[1], classes.feed_forward(classes.means[1]))
    torch.testing.assert_close(queries[2:], classes.feed_forward(classes.learned[2:]))
    torch.testing.assert_close(classes(torch.tensor([3, 1])), queries[[3, 1]])
    torch.testing.assert_close(classes(learned=True), classes.feed_forward(classes.learned))
    queries.sum().backward()
    assert not classes.means.requires_grad
    assert classes.learned.grad is not None
    assert not classes.learned.grad[1].any()


@pytest.mark.parametrize("training", [True, False])
def test_a_mean_counts_after_ten_steps_whatever_other_classes_were_seen(training: bool) -> None:
    classes = made().train(training)
    for step in range(10):
        assert torch.equal(classes(), classes(learned=True))
        classes.update(torch.randn(2, 6), torch.tensor([3, 3]))
        assert int(classes.seen[3]) == step + 1
    moved = (classes() != classes(learned=True)).any(1)
    assert moved.tolist() == [False, False, False, True]


def test_the_state_comes_back() -> None:
    classes, other = made(), made()
    classes.update(torch.randn(3, 6), torch.tensor([0, 1, 1]))
    other.load_state_dict(classes.state_dict())
    assert torch.equal(other.means, classes.means)
    assert torch.equal(other.seen, classes.seen)


def _one_of_two(rank: int, port: int, parts: list[Any], answers: Any) -> None:
    address = f"tcp://127.0.0.1:{port}"
    dist.init_process_group("gloo", init_method=address, rank=rank, world_size=2)
    classes = made()
    for embeddings, labels in parts[rank]:
        classes.update(torch.tensor(embeddings), torch.tensor(labels, dtype=torch.long))
    answers.put((rank, classes.means.tolist(), classes.seen.tolist()))
    dist.destroy_process_group()


def test_two_processes_are_one_with_both_batches() -> None:
    steps = [(torch.randn(5, 6), torch.tensor([0, 1, 1, 3, 0])) for _ in range(2)]
    parts = [
        [(e[part].view(-1, 6).tolist(), labels[part].tolist()) for e, labels in steps]
        for part in (slice(0, 2), slice(2, 5))
    ]
    whole = made()
    for embeddings, labels in steps:
        whole.update(embeddings, labels)
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
    for _, means, seen in found:
        torch.testing.assert_close(torch.tensor(means), whole.means)
        assert seen == whole.seen.tolist()


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="momentum must be in"):
        made(1.0)
    with pytest.raises(ValueError, match=r"embeddings must be \(2, 6\)"):
        made().update(torch.zeros(2, 5), torch.tensor([0, 1]))
