"""Killed at any moment, a training goes on as if nothing had happened."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    out = tmp_path_factory.mktemp("killed")
    command = [sys.executable, "-m", "tests.training.killed", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_every_moment_was_one(report: dict[str, Any]) -> None:
    deaths = report["deaths"]
    assert len(deaths) > 20
    assert {death["signal"] for death in deaths} == {signal.SIGKILL}
    # Before the first checkpoint, after it, while old ones are removed, and at the end.
    assert {tuple(int(name[5:]) for name in death["done"]) for death in deaths} == {
        (),
        (4,),
        (4, 8),
        (4, 8, 10),
        (8, 10),
    }


@pytest.mark.parametrize("what", ["curve", "weights", "files"])
def test_the_same_in_the_end(report: dict[str, Any], what: str) -> None:
    assert [i for i, death in enumerate(report["deaths"]) if not death[what]] == []


def test_a_second_signal_ends_at_once(report: dict[str, Any]) -> None:
    assert report["twice"] == signal.SIGTERM
    assert report["steps_of_twice"] == [1, 2]


def test_a_signal_to_all_processes_lets_the_step_end(report: dict[str, Any]) -> None:
    assert report["group"] is None
    assert report["steps_of_group"] == [1, 2, 3]
    assert report["saved_of_group"] == ["step_00000003"]
