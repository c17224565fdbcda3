"""Whether a folder can be taken up."""

from __future__ import annotations

from pathlib import Path

import pytest
from torch import nn

from segblocks.training.checkpoints import CheckpointFolder
from segblocks.training.loader import make_sampler
from segblocks.training.resume import find_checkpoint
from segblocks.zoo.checkpoint import CheckpointError
from tests.training.tiny import TinyClips, make_settings, make_step, run


def test_the_sampler_goes_on_with_the_checkpoint(tmp_path: Path) -> None:
    settings = make_settings()
    folder = CheckpointFolder(tmp_path / "new" / "run")
    sampler = make_sampler(TinyClips(), settings)
    assert find_checkpoint(folder, settings, sampler, main=True, resume=True) is None
    assert folder.out.is_dir()
    run(folder.out, steps=5)
    found = find_checkpoint(folder, settings, sampler, main=True, resume=True)
    assert found is not None
    assert found.step == 5
    assert len(sampler) == 12 - 5
    assert find_checkpoint(folder, settings, sampler, main=True, resume=False) is None
    assert list(folder.out.iterdir()) == [folder.root]


def test_fewer_steps_than_were_made(tmp_path: Path) -> None:
    run(tmp_path, steps=5)
    with pytest.raises(ValueError, match="a training of 5 steps, more than the 4 of these"):
        run(tmp_path, steps=4)


def test_weights_of_another_model(tmp_path: Path) -> None:
    run(tmp_path, steps=1)
    other = make_step()
    other.model.further = nn.Linear(2, 2)
    with pytest.raises(CheckpointError, match=r"further\.weight"):
        run(tmp_path, other, steps=2)


def test_only_the_folder_of_this_training_is_cleared(tmp_path: Path) -> None:
    run(tmp_path, steps=1)
    (tmp_path / "notes.txt").write_text("mine")
    run(tmp_path, steps=1, resume=False, learning_rate=0.5)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_damaged_checkpoint_says_how_to_go_on(tmp_path: Path) -> None:
    run(tmp_path, steps=5, save_every=2)
    last = CheckpointFolder(tmp_path).list()[-1]
    (last / "state.pt").write_bytes(b"PK")
    with pytest.raises(CheckpointError, match="without the folder step_00000005 training goes on"):
        run(tmp_path, steps=6, save_every=2)
    last.rename(tmp_path / "damaged")
    assert run(tmp_path, steps=6, save_every=2).finished
