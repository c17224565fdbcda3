"""Kill a training at each change of a file, take it up again, and see whether it is the same.

Run as a program of its own, ``python -m tests.training.killed FOLDER``. It prints as JSON, for each
moment of death, how the process died and what is the same afterwards.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from segblocks.training.checkpoints import CheckpointFolder
from segblocks.training.journal import Journal
from tests.training.tiny import TinyStep, curve, make_step, run, weights

OPTIONS: dict[str, Any] = {"log_every": 3, "keep": 2, "steps": 10}


def count_changes(limit: int | None) -> list[int]:
    """Count what changes files, and die at the change of number ``limit``, half done if it can."""
    changes = [0]

    def change(half: Callable[[], object]) -> None:
        if changes[0] == limit:
            half()
            os.kill(os.getpid(), signal.SIGKILL)
        changes[0] += 1

    def counted(function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **options: Any) -> Any:
            change(lambda: None)
            return function(*args, **options)

        return wrapped

    def write(self: Journal, line: Any) -> None:
        text = json.dumps(line) + "\n"
        half = text[: len(text) // 2]
        change(lambda: (self._file.write(half), self._file.flush()))
        self._file.write(text)
        self._file.flush()

    def save(content: Any, file: Any) -> None:
        change(lambda: (file.write(b"PK half a file"), file.flush()))
        store(content, file)

    def rmtree(path: Any, *args: Any, **options: Any) -> None:
        inner = sorted(Path(path).glob("*"))
        change(lambda: inner and inner[0].is_file() and inner[0].unlink())
        remove(path, *args, **options)

    store, remove = torch.save, shutil.rmtree
    torch.save, shutil.rmtree = save, rmtree  # type: ignore[assignment]
    os.rename, os.replace = counted(os.rename), counted(os.replace)
    Journal.write = write  # type: ignore[method-assign]
    return changes


def child(work: Callable[[], object]) -> int | None:
    """Do something in a process of its own; return the signal that it died from."""
    process = os.fork()
    if not process:
        work()
        os._exit(0)
    _, status = os.waitpid(process, 0)
    if not os.WIFSIGNALED(status) and os.WEXITSTATUS(status):
        raise RuntimeError(f"the child ended with {os.WEXITSTATUS(status)}")
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else None


def main(root: Path) -> None:
    """Go through all moments."""
    torch.set_num_threads(1)
    whole = root / "whole"
    report = root / "changes"

    def count() -> None:
        changes = count_changes(None)
        run(whole, **OPTIONS)
        report.write_text(str(changes[0]))

    child(count)
    deaths = []
    for limit in range(int(report.read_text())):
        out = root / f"killed{limit}"

        def die(limit: int = limit, out: Path = out) -> None:
            count_changes(limit)
            run(out, **OPTIONS)

        died = child(die)
        done = [path.name for path in CheckpointFolder(out).list()]
        child(lambda out=out: run(out, **OPTIONS))
        deaths.append(
            {
                "signal": died,
                "done": done,
                "curve": curve(out) == curve(whole),
                "weights": weights(out) == weights(whole),
                "files": files(out) == files(whole),
            }
        )
    twice, group = root / "twice", root / "group"
    print(
        json.dumps(
            {
                "deaths": deaths,
                "twice": child(lambda: stop(twice, 2)),
                "steps_of_twice": [line["step"] for line in curve(twice)],
                "group": child(lambda: stop(group, 1, workers=1)),
                "steps_of_group": [line["step"] for line in curve(group)],
                "saved_of_group": [path.name for path in CheckpointFolder(group).list()],
            }
        )
    )


def stop(out: Path, times: int, **options: Any) -> None:
    """Send SIGTERM to the whole process group in the third step."""
    os.setpgrp()

    class Stopped(TinyStep):
        batches = 0

        def forward(self, clips: Any) -> Any:
            self.batches += 1
            for _ in range(times if self.batches == 3 else 0):
                os.killpg(os.getpgrp(), signal.SIGTERM)
                time.sleep(0.6)
            return super().forward(clips)

    run(out, Stopped(make_step().model), **options)


def files(out: Path) -> list[str]:
    """All that lies in a folder, but for TensorBoard, which has a file for each start."""
    found = (path.relative_to(out) for path in out.rglob("*"))
    return sorted(str(path) for path in found if path.parts[0] != "tensorboard")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
