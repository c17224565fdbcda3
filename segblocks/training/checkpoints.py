"""Where training stands, in folders that appear whole or not at all."""

from __future__ import annotations

import json
import os
import pickle
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import segblocks
from segblocks._files import expand, whole_folder
from segblocks.zoo.checkpoint import CheckpointError, load_checkpoint, save_safetensors

CHECKPOINTS = "checkpoints"
MODEL_FILE = "model.safetensors"
AVERAGED_FILE = "averaged.safetensors"
STATE_FILE = "state.pt"
RECORD_FILE = "checkpoint.json"

_NAME = re.compile(r"step_(\d{8,})")
# As `whole_folder` begins names of what is not finished.
_UNFINISHED = ".segblocks."


@dataclass(frozen=True)
class Checkpoint:
    """Hold what training needs to go on.

    Args:
        step: steps that were made.
        model: the weights.
        averaged: the averaged weights, if there are any.
        state: tensors and plain containers: optimizer, scaler, random generators.
        record: plain values that tell one training from another.
    """

    step: int
    model: Mapping[str, Tensor]
    averaged: Mapping[str, Tensor] | None
    state: Mapping[str, Any]
    record: Mapping[str, Any]


class CheckpointFolder:
    """Write checkpoints, keep the newest, and find the last one.

    Each is a folder ``step_00001000`` with ``model.safetensors``, ``averaged.safetensors`` where
    weights are averaged, ``state.pt`` (read without running anything) and ``checkpoint.json``.

    Args:
        out: folder of the training; checkpoints lie in ``out/checkpoints``.
        keep: how many stay.
    """

    def __init__(self, out: str | os.PathLike[str], *, keep: int = 3) -> None:
        self.out = expand(out)
        self.root = self.out / CHECKPOINTS
        self.keep = keep

    def save(self, checkpoint: Checkpoint) -> Path:
        """Write a checkpoint, then remove the oldest.

        Returns:
            Its folder.

        Raises:
            OSError: it cannot be written; what was there stays.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        place = self.root / f"step_{checkpoint.step:08d}"
        record = {
            "step": checkpoint.step,
            "segblocks_version": segblocks.__version__,
            **checkpoint.record,
        }
        with whole_folder(place, owned=(AVERAGED_FILE,)) as folder:
            save_safetensors(checkpoint.model, folder / MODEL_FILE)
            if checkpoint.averaged is not None:
                save_safetensors(checkpoint.averaged, folder / AVERAGED_FILE)
            # Given a name, torch tells of a full disk in words that nobody understands.
            with open(folder / STATE_FILE, "wb") as file:
                torch.save(dict(checkpoint.state), file)
            (folder / RECORD_FILE).write_text(json.dumps(record, indent=1) + "\n")
            for path in folder.iterdir():
                _to_disk(path)
        self._keep_newest()
        return place

    def list(self) -> list[Path]:
        """Return the folders of all checkpoints, the newest last."""
        if not self.root.is_dir():
            return []
        found = [path for path in self.root.iterdir() if _NAME.fullmatch(path.name)]
        return sorted(found, key=lambda path: int(path.name.removeprefix("step_")))

    def sweep(self) -> None:
        """Remove what a process left that was killed while it wrote or removed."""
        if self.root.is_dir():
            for path in self.root.iterdir():
                if path.name.startswith(_UNFINISHED):
                    shutil.rmtree(path)
            self._keep_newest()

    def clear(self) -> None:
        """Remove all checkpoints."""
        for path in self.list():
            self._remove(path)

    def _keep_newest(self) -> None:
        for old in self.list()[: -self.keep]:
            self._remove(old)

    def _remove(self, path: Path) -> None:
        # First out of sight: what is half removed must not look like a checkpoint.
        hidden = path.with_name(f"{_UNFINISHED}{path.name}")
        os.replace(path, hidden)
        shutil.rmtree(hidden)


def latest_checkpoint(out: str | os.PathLike[str]) -> Path | None:
    """Find the newest checkpoint of a training.

    Args:
        out: folder of the training.

    Returns:
        The checkpoint's folder; None before the first.
    """
    found = CheckpointFolder(out).list()
    return found[-1] if found else None


def weights_file(checkpoint: str | os.PathLike[str], *, averaged: bool | None = None) -> Path:
    """Find the weights in a checkpoint, which :func:`segblocks.create_model` reads.

    Args:
        checkpoint: its folder.
        averaged: the averaged weights; None takes them where they are.

    Raises:
        FileNotFoundError: there are none.
    """
    folder = expand(checkpoint)
    if averaged is None:
        averaged = (folder / AVERAGED_FILE).is_file()
    path = folder / (AVERAGED_FILE if averaged else MODEL_FILE)
    if not path.is_file():
        raise FileNotFoundError(f"weights_file: there is no {path.name} in {folder}")
    return path


def read_checkpoint_record(checkpoint: str | os.PathLike[str]) -> dict[str, Any]:
    """Read what tells the training of a checkpoint from others.

    Args:
        checkpoint: its folder.

    Returns:
        With the keys step, segblocks_version, settings, processes and sampler.

    Raises:
        CheckpointError: a damaged checkpoint.
    """
    path = expand(checkpoint) / RECORD_FILE
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise _damaged(path, error) from error


def read_checkpoint(checkpoint: str | os.PathLike[str]) -> Checkpoint:
    """Read a checkpoint onto the CPU, without running anything that it holds.

    Args:
        checkpoint: its folder.

    Raises:
        CheckpointError: a damaged checkpoint, or one that holds code.
    """
    folder = expand(checkpoint)
    record = read_checkpoint_record(folder)
    averaged = folder / AVERAGED_FILE
    try:
        state = torch.load(folder / STATE_FILE, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise _damaged(folder / STATE_FILE, error) from error
    return Checkpoint(
        record["step"],
        load_checkpoint(folder / MODEL_FILE),
        load_checkpoint(averaged) if averaged.is_file() else None,
        state,
        record,
    )


def _damaged(path: Path, error: Exception) -> CheckpointError:
    return CheckpointError(
        f"{path}: cannot be read ({str(error).partition(chr(10))[0]}); without the folder "
        f"{path.parent.name} training goes on from the checkpoint before it"
    )


def _to_disk(path: Path) -> None:
    handle = os.open(path, os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
