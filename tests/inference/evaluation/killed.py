"""Kill an evaluation at each file that it writes or moves, and take it up again.

Run as a program of its own, ``python -m tests.inference.evaluation.killed FOLDER``. It prints as
JSON, for every moment of death, what was done before and what afterwards.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

import torch

from segblocks.inference import read_result
from segblocks.inference.evaluation import source as evaluation_source
from segblocks.inference.evaluation.evaluate import evaluate
from tests.inference.evaluation.evaluated import squares_davis
from tests.oracle import OracleModel


def count_steps(limit: int | None) -> list[int]:
    """Count what changes files, and die at the step of number ``limit``.

    Steps are moves and removals, before which the process dies, and texts, of which it writes half.
    """
    steps = [0]

    def step(dying: Callable[[], object]) -> None:
        if steps[0] == limit:
            dying()
            os.kill(os.getpid(), signal.SIGKILL)
        steps[0] += 1

    def counted(change: Callable[..., None]) -> Callable[..., None]:
        def wrapped(*args: Any, **options: Any) -> None:
            step(lambda: None)
            change(*args, **options)

        return wrapped

    def dump(content: Any, file: TextIO, **_: Any) -> None:
        text = json.dumps(content)
        step(lambda: (file.write(text[: len(text) // 2]), file.flush()))
        file.write(text)

    def write_text(path: Path, text: str, **_: Any) -> None:
        step(lambda: path.write_bytes(text.encode()[: len(text) // 2]))
        path.write_bytes(text.encode())

    os.rename, os.replace = counted(os.rename), counted(os.replace)
    shutil.rmtree = counted(shutil.rmtree)  # type: ignore[assignment]
    json.dump, Path.write_text = dump, write_text  # type: ignore[assignment]
    return steps


def run(dataset: Any, out: Path, limit: int | None) -> dict[str, Any]:
    """Evaluate in a process that may die, and say what it did."""
    report = out.with_name(f"{out.name}.report")
    report.unlink(missing_ok=True)
    child = os.fork()
    if not child:
        segment, asked = evaluation_source.segment, []

        def watched(model: Any, source: Any, task: Any, **settings: Any) -> Any:
            asked.append(source.name)
            return segment(model, source, task, **settings)

        evaluation_source.segment = watched  # type: ignore[assignment]
        torch.manual_seed(0)
        steps = count_steps(limit)
        evaluate(dataset, OracleModel(), out=out, clip_length=4, overlap=2)
        report.write_bytes(json.dumps({"asked": asked, "steps": steps[0]}).encode())
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return {"signal": os.WTERMSIG(status)}
    return json.loads(report.read_text())


def look(out: Path) -> dict[str, float]:
    """Check that all that is in place is whole; return when each record was made."""
    for path in (*out.glob("records/*.json"), *out.glob("*.json")):
        json.loads(path.read_text())
    for path in out.glob("predictions/*"):
        read_result(path)
    return {path.stem: path.stat().st_mtime_ns for path in out.glob("records/*.json")}


def files(out: Path) -> list[str]:
    """All that lies in a folder."""
    return sorted(str(path.relative_to(out)) for path in out.rglob("*"))


def main(root: Path) -> None:
    """Go through all moments."""
    torch.set_num_threads(1)
    dataset = squares_davis(root / "data", 2)
    whole = run(dataset, root / "whole", None)
    numbers = (root / "whole" / "metrics.json").read_bytes()
    deaths = []
    for limit in range(whole["steps"]):
        out = root / f"killed{limit}"
        death = run(dataset, out, limit)
        before = look(out)
        later = run(dataset, out, None)
        after = look(out)
        deaths.append(
            {
                "signal": death.get("signal"),
                "done": sorted(before),
                "asked": later["asked"],
                "kept": all(after[name] == time for name, time in before.items()),
                "same": (out / "metrics.json").read_bytes() == numbers,
                "files": files(out) == files(root / "whole"),
            }
        )
    print(json.dumps({"asked": whole["asked"], "deaths": deaths}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
