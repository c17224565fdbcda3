"""The same seed gives the same bytes, whatever else runs in the process."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
import torch
from torch import nn

from segblocks.inference import segment
from segblocks.inference.evaluation_mode import evaluating
from segblocks.tasks import Task
from tests.zoo.small_systems import SYSTEMS, make_system, noise_video, tasks_of


@contextmanager
def deterministic() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


def saved(model: Any, task: Task, out: Path, *, seed: int = 0) -> dict[str, bytes]:
    """All files of a result."""
    result = segment(model, noise_video(seed), task, clip_length=3)
    result.save(out)
    return {str(p.relative_to(out)): p.read_bytes() for p in out.rglob("*") if p.is_file()}


@pytest.mark.parametrize("system", SYSTEMS)
def test_the_same_seed_gives_the_same_bytes_for_every_task(system: str, tmp_path: Path) -> None:
    def run(seed: int, name: str) -> dict[str, dict[str, bytes]]:
        model = make_system(system, seed)
        tasks = tasks_of(model)
        assert {task.name for task in tasks} == set(model.tasks)
        return {task.name: saved(model, task, tmp_path / name / task.name) for task in tasks}

    with deterministic():
        first, again, other = run(0, "first"), run(0, "again"), run(1, "other")
    assert first == again
    assert first != other


@pytest.mark.parametrize("system", SYSTEMS)
def test_two_threads_with_one_model_get_what_they_would_alone(system: str, tmp_path: Path) -> None:
    model = make_system(system)
    task = tasks_of(model)[-1]
    alone = [saved(model, task, tmp_path / f"alone{i}", seed=i) for i in range(2)]
    assert alone[0] != alone[1]
    start = Barrier(2)

    def run(i: int) -> dict[str, bytes]:
        start.wait()
        return saved(model, task, tmp_path / f"together{i}", seed=i)

    with ThreadPoolExecutor(2) as threads:
        assert list(threads.map(run, range(2))) == alone
    assert model.training


def test_the_last_of_those_who_use_a_model_gives_its_mode_back() -> None:
    model = nn.Sequential(nn.Dropout(), nn.Dropout())
    model[1].eval()
    first, second = evaluating(model), evaluating(model)
    with ThreadPoolExecutor(1) as thread:  # inference mode is each thread's own
        first.__enter__()
        thread.submit(second.__enter__).result()
        first.__exit__(None, None, None)
        assert [module.training for module in model.modules()] == [False, False, False]
        assert not torch.is_inference_mode_enabled()
        thread.submit(second.__exit__, None, None, None).result()
    assert [module.training for module in model.modules()] == [True, True, False]
