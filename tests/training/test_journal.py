"""The log: one line a step, no step twice."""

from __future__ import annotations

import builtins
import json
import time
from pathlib import Path
from typing import Any

import pytest

from segblocks.training.journal import LOG_FILE, TENSORBOARD_FOLDER, Journal, clear_log, read_log


def write(out: Path, steps: range, at: int = 0) -> None:
    journal = Journal(out, step=at)
    for step in steps:
        journal.write({"step": step, "loss": step / 2, "terms": {"dice": 1.0}, "grad_norm": None})
    journal.to_disk()
    journal.close()


def steps(out: Path) -> list[int]:
    return [line["step"] for line in read_log(out)]


def test_lines(tmp_path: Path) -> None:
    assert read_log(tmp_path) == []
    write(tmp_path, range(1, 4))
    assert steps(tmp_path) == [1, 2, 3]
    lines = (tmp_path / LOG_FILE).read_text().splitlines()
    assert json.loads(lines[1]) == {
        "step": 2,
        "loss": 1.0,
        "terms": {"dice": 1.0},
        "grad_norm": None,
    }


@pytest.mark.parametrize(("at", "left"), [(0, []), (2, [1, 2]), (5, [1, 2, 3, 4, 5]), (9, None)])
def test_going_on_removes_later_lines(tmp_path: Path, at: int, left: list[int] | None) -> None:
    write(tmp_path, range(1, 6))
    # The process was killed within a line.
    with open(tmp_path / LOG_FILE, "a") as file:
        file.write('{"step": 6, "lo')
    assert steps(tmp_path) == [1, 2, 3, 4, 5]
    write(tmp_path, range(at + 1, at + 3), at=at)
    assert steps(tmp_path) == [*([1, 2, 3, 4, 5] if left is None else left), at + 1, at + 2]


def test_tensorboard_has_the_numbers(tmp_path: Path) -> None:
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    write(tmp_path, range(1, 6))
    time.sleep(1.1)  # files are named, and so ordered, by their second
    write(tmp_path, range(4, 7), at=3)
    board = events.EventAccumulator(str(tmp_path / TENSORBOARD_FOLDER))
    board.Reload()
    assert sorted(board.Tags()["scalars"]) == ["loss", "terms/dice"]
    assert [event.step for event in board.Scalars("loss")] == [1, 2, 3, 4, 5, 6]
    assert board.Scalars("loss")[-1].value == 3.0


def test_without_tensorboard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load = builtins.__import__

    def without(name: str, *args: Any, **options: Any) -> Any:
        if name == "torch.utils.tensorboard":
            raise ModuleNotFoundError("No module named 'tensorboard'", name="tensorboard")
        return load(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    write(tmp_path, range(1, 3))
    assert steps(tmp_path) == [1, 2]
    assert not (tmp_path / TENSORBOARD_FOLDER).exists()


def test_clearing(tmp_path: Path) -> None:
    write(tmp_path, range(1, 3))
    clear_log(tmp_path)
    clear_log(tmp_path)
    assert list(tmp_path.iterdir()) == []
