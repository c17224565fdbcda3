"""The commit that figures belong to."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from segblocks.bench import machine


def place_code(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "__file__", str(root / "segblocks" / "bench" / "machine.py"))


def git(root: Path, *words: str) -> str:
    who = ["-c", "user.name=A", "-c", "user.email=a@b.c"]
    done = subprocess.run(
        ["git", "-C", str(root), *who, *words], check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def test_commit_of_a_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    git(tmp_path, "init", "-q")
    (tmp_path / "a").write_text("1")
    git(tmp_path, "add", "a")
    git(tmp_path, "commit", "-q", "-m", "a")
    git(tmp_path, "tag", "v1")
    place_code(tmp_path, monkeypatch)
    commit = git(tmp_path, "rev-parse", "--short=12", "HEAD")
    assert machine.describe_machine()["commit"] == commit
    (tmp_path / "a").write_text("2")
    assert machine.describe_machine()["commit"] == f"{commit}-dirty"


def test_an_installed_package_is_no_commit_of_what_it_lies_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git(tmp_path, "init", "-q")
    place_code(tmp_path / "venv" / "site-packages", monkeypatch)
    assert machine.describe_machine()["commit"] is None
