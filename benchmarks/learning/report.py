"""Numbers as a JSON file and a table in Markdown, with the machine that they come from."""

from __future__ import annotations

import json
import math
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from segblocks import __version__
from segblocks._files import write_atomically


@dataclass(frozen=True)
class Table:
    """Rows of numbers from 0 to 1.

    Args:
        title: above it.
        columns: names.
        rows: name -> a number for each column, NaN for none.
    """

    title: str
    columns: Sequence[str]
    rows: Mapping[str, Sequence[float]]

    def markdown(self) -> str:
        """Return the table, times 100."""
        lines = [
            f"### {self.title}",
            "",
            f"| | {' | '.join(self.columns)} |",
            f"|---|{'---|' * len(self.columns)}",
        ]
        for name, numbers in self.rows.items():
            cells = ("-" if math.isnan(n) else f"{100 * n:.1f}" for n in numbers)
            lines.append(f"| {name} | {' | '.join(cells)} |")
        return "\n".join(lines)


def describe_machine() -> dict[str, Any]:
    """Return what numbers and times depend on besides the code."""
    cuda = torch.cuda.is_available()
    return {
        "segblocks": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if cuda else None,
    }


def write_report(
    out: Path, tables: Sequence[Table], details: Mapping[str, Any], *, command: str
) -> str:
    """Write ``out`` with the suffixes .json and .md.

    Args:
        out: the path without suffix; its folder is made.
        tables: for the Markdown.
        details: plain values, for the JSON alone.
        command: which made it.

    Returns:
        The Markdown.
    """
    machine = describe_machine()
    described = ", ".join(f"{name} {value}" for name, value in machine.items() if value)
    text = "\n\n".join([f"`{command}`\n\n{described}", *(table.markdown() for table in tables)])
    content = {"command": command, "machine": machine, **details}
    out.parent.mkdir(parents=True, exist_ok=True)
    _write(out.with_name(f"{out.name}.md"), f"{text}\n")
    _write(out.with_name(f"{out.name}.json"), f"{json.dumps(_plain(content), indent=1)}\n")
    return text


def this_command(module: str, hidden: Sequence[str] = ()) -> str:
    """Return the command line of this process.

    Args:
        module: that runs.
        hidden: options whose values are somebody's own paths.
    """
    words = ["python", "-m", module]
    for before, word in zip(["", *sys.argv[1:]], sys.argv[1:], strict=False):
        words.append("..." if before in hidden else word)
    return " ".join(words)


def _write(path: Path, text: str) -> None:
    def write(temporary: str) -> None:
        Path(temporary).write_text(text)

    write_atomically(path, write)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    names = info.read_text().splitlines() if info.is_file() else []
    named = [line.partition(":")[2].strip() for line in names if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()
