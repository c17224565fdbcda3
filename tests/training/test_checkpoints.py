"""Checkpoints: whole, readable without running anything, and no more than wanted."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch

from segblocks.training.checkpoints import (
    Checkpoint,
    CheckpointFolder,
    latest_checkpoint,
    read_checkpoint,
    read_checkpoint_record,
    weights_file,
)
from segblocks.zoo.checkpoint import CheckpointError
from tests.disk import full_disk


def make(step: int, *, averaged: bool = True) -> Checkpoint:
    shared = torch.arange(3.0)
    weights = {"a": shared, "b": shared, "count": torch.tensor(step)}
    return Checkpoint(
        step,
        weights,
        {name: value / 2 for name, value in weights.items()} if averaged else None,
        {"optimizer": {"state": {0: {"step": torch.tensor(float(step))}}}, "random": [[1, None]]},
        {"settings": {"seed": 3}},
    )


def test_what_is_written_is_read(tmp_path: Path) -> None:
    place = CheckpointFolder(tmp_path).save(make(7))
    assert place == latest_checkpoint(tmp_path) == tmp_path / "checkpoints" / "step_00000007"
    found = read_checkpoint(place)
    assert found.step == 7
    assert found.averaged is not None
    for read, wanted in ((found.model, make(7).model), (found.averaged, make(7).averaged)):
        assert wanted is not None
        assert read.keys() == wanted.keys()
        assert all(torch.equal(read[name], wanted[name]) for name in wanted)
    assert found.state == make(7).state
    assert found.record["settings"] == read_checkpoint_record(place)["settings"] == {"seed": 3}
    assert weights_file(place).name == "averaged.safetensors"
    assert weights_file(place, averaged=False).name == "model.safetensors"


def test_without_averages(tmp_path: Path) -> None:
    place = CheckpointFolder(tmp_path).save(make(1, averaged=False))
    assert read_checkpoint(place).averaged is None
    assert weights_file(place).name == "model.safetensors"
    with pytest.raises(FileNotFoundError, match=r"there is no averaged\.safetensors"):
        weights_file(place, averaged=True)


def test_the_newest_stay(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path, keep=2)
    assert folder.list() == []
    assert latest_checkpoint(tmp_path) is None
    for step in (5, 90, 100_000_000, 1_000_000_000):
        folder.save(make(step))
    names = [path.name for path in folder.list()]
    assert names == ["step_100000000", "step_1000000000"]
    assert sorted(os.listdir(folder.root)) == sorted(names)
    folder.clear()
    assert os.listdir(folder.root) == []


def test_what_was_not_finished_is_swept_and_never_taken(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path, keep=1)
    folder.save(make(1))
    for name in (".segblocks.abc", ".segblocks.step_00000009"):
        (folder.root / name).mkdir()
        (folder.root / name / "model.safetensors").write_bytes(b"half")
    (folder.root / "step_00000009.copy").mkdir()
    assert [path.name for path in folder.list()] == ["step_00000001"]
    folder.sweep()
    assert sorted(os.listdir(folder.root)) == ["step_00000001", "step_00000009.copy"]


@pytest.mark.parametrize("left", [50, 700, 1200])
def test_a_full_disk_leaves_the_last(tmp_path: Path, left: int) -> None:
    folder = CheckpointFolder(tmp_path, keep=1)
    folder.save(make(1))
    with full_disk(left), pytest.raises(OSError, match=r"cannot write.*step_00000002"):
        folder.save(make(2))
    assert os.listdir(folder.root) == ["step_00000001"]
    assert read_checkpoint(folder.list()[0]).step == 1


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch /tmp/never",)


@pytest.mark.parametrize("name", ["state.pt", "checkpoint.json", "model.safetensors"])
@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut short", None])
def test_damage_names_the_file(tmp_path: Path, name: str, content: bytes | None) -> None:
    place = CheckpointFolder(tmp_path).save(make(1))
    if content is None:
        (place / name).unlink()
    else:
        (place / name).write_bytes(content)
    with pytest.raises((CheckpointError, FileNotFoundError), match=f"step_00000001/{name}"):
        read_checkpoint(place)


def test_code_is_not_run(tmp_path: Path) -> None:
    place = CheckpointFolder(tmp_path).save(make(1))
    torch.save({"optimizer": Evil()}, place / "state.pt")
    with pytest.raises(CheckpointError, match=r"state\.pt: cannot be read"):
        read_checkpoint(place)
    assert not Path("/tmp/never").exists()
