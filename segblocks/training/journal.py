"""What happens in a training: one line of JSON every few steps, and TensorBoard."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from segblocks._files import expand, write_atomically

LOG_FILE = "log.jsonl"
TENSORBOARD_FOLDER = "tensorboard"


class Journal:
    """Append to the log of a training.

    ``out/log.jsonl`` holds a JSON object a line. When TensorBoard is installed, its files in
    ``out/tensorboard`` hold the same numbers.

    Args:
        out: folder of the training, which exists.
        step: steps that were made; lines of later ones, which a process wrote that was killed
            before its next checkpoint, are removed.
    """

    def __init__(self, out: str | os.PathLike[str], *, step: int = 0) -> None:
        out = expand(out)
        self.path = out / LOG_FILE
        _truncate(self.path, step)
        self._file = open(self.path, "a", encoding="utf-8")  # noqa: SIM115 - closed by close
        self._board = _open_board(out / TENSORBOARD_FOLDER, step)

    def write(self, line: Mapping[str, Any]) -> None:
        """Append a line.

        Args:
            line: plain values; ``step`` is among them, and mappings are numbers by name.
        """
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()
        if self._board is not None:
            for name, value in _flat(line).items():
                self._board.add_scalar(name, value, line["step"])

    def to_disk(self) -> None:
        """Wait until all lines are on the disk."""
        os.fsync(self._file.fileno())
        if self._board is not None:
            self._board.flush()

    def close(self) -> None:
        """Close the files."""
        self._file.close()
        if self._board is not None:
            self._board.close()


def read_log(out: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """Read the log of a training.

    Args:
        out: folder of the training.

    Returns:
        One dict a line; empty before the first. A line that is being written is left out.

    Example:
        >>> import tempfile
        >>> out = tempfile.mkdtemp()
        >>> journal = Journal(out)
        >>> journal.write({"step": 20, "loss": 1.5})
        >>> read_log(out)
        [{'step': 20, 'loss': 1.5}]
    """
    path = expand(out) / LOG_FILE
    if not path.is_file():
        return []
    return [json.loads(line) for line in _whole_lines(path)]


def clear_log(out: str | os.PathLike[str]) -> None:
    """Remove the log of a training."""
    (expand(out) / LOG_FILE).unlink(missing_ok=True)
    board = expand(out) / TENSORBOARD_FOLDER
    if board.is_dir():
        shutil.rmtree(board)


def _whole_lines(path: Path) -> list[str]:
    return [line for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]


def _truncate(path: Path, step: int) -> None:
    if not path.is_file():
        return
    kept = [line for line in _whole_lines(path) if json.loads(line)["step"] <= step]
    text = "".join(kept)
    if text != path.read_text():
        write_atomically(path, lambda temporary: _write(temporary, text))


def _write(path: str, text: str) -> None:
    Path(path).write_text(text)


def _open_board(folder: Path, step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "tensorboard":
            raise
        return None
    return SummaryWriter(str(folder), purge_step=step + 1)


def _flat(line: Mapping[str, Any]) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, value in line.items():
        if isinstance(value, Mapping):
            found |= {f"{name}/{inner}": float(number) for inner, number in value.items()}
        elif name != "step" and value is not None:
            found[name] = float(value)
    return found
