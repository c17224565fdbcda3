"""Files of rows: what was measured on one machine."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from segblocks._files import expand, write_atomically
from segblocks.bench.compare import Row
from segblocks.bench.measurement import Measurement

FORMAT = 1


@dataclass(frozen=True)
class Results:
    """What a file holds.

    Attributes:
        machine: as :func:`~segblocks.bench.machine.describe_machine` describes it.
        rows: of all problems, one after the other.
    """

    machine: dict[str, Any]
    rows: tuple[Row, ...]


def check_target(path: str | os.PathLike[str]) -> None:
    """Find out before the first minutes pass whether a file can be written.

    Args:
        path: the file to be.

    Raises:
        OSError: there is no such folder, it cannot be written to, or a folder has this name.
    """
    path = expand(path)
    folder = path.absolute().parent
    if not folder.is_dir():
        raise FileNotFoundError(errno.ENOENT, "there is no such folder", str(folder))
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "this is a folder, not a file", str(path))
    if not os.access(folder, os.W_OK):
        raise PermissionError(errno.EACCES, "this folder cannot be written to", str(folder))


def save_results(
    path: str | os.PathLike[str], machine: dict[str, Any], rows: Sequence[Row]
) -> None:
    """Write rows as JSON, with the machine that they are from.

    Args:
        path: the file to be; an existing one is replaced.
        machine: its description.
        rows: at least one.

    Raises:
        OSError: the file cannot be written.

    Example:
        >>> import tempfile
        >>> row = Row("op", "small", {"frames": 1}, "cpu", "fp32", "fwd", "segblocks", refused="no")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_results(f"{folder}/a.json", {"cpu": "8086"}, [row])
        ...     load_results(f"{folder}/a.json").rows == (row,)
        True
    """
    content = {"format": FORMAT, "machine": machine, "rows": [asdict(row) for row in rows]}
    text = json.dumps(content, indent=1) + "\n"
    write_atomically(path, lambda temporary: _write(temporary, text))


def _write(path: str, text: str) -> None:
    Path(path).write_text(text, encoding="utf-8")


def load_results(path: str | os.PathLike[str]) -> Results:
    """Read what :func:`save_results` wrote.

    Args:
        path: of the file.

    Returns:
        Its content.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is none of these files.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            raise ValueError(f"expected format {FORMAT}, got {content['format']!r}")
        return Results(content["machine"], tuple(_row(row) for row in content["rows"]))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: no file of `segblocks bench --json` ({error})") from error


def _row(content: dict[str, Any]) -> Row:
    taken = content["taken"]
    return Row(**{**content, "taken": None if taken is None else Measurement(**taken)})
