"""Make ``docs/benchmarks.md`` and its plots of all files in ``benchmarks/results``.

``python -m benchmarks.report``. Wins and losses stand in the same tables and bars.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from segblocks._optional import require
from segblocks.bench.compare import Row
from segblocks.bench.results import Results, load_results
from segblocks.bench.suite import OURS
from segblocks.bench.table import HEADINGS, ProblemKey, by_problem, cells, find_ours

ROOT = Path(__file__).parents[1]
COMMAND = "python -m benchmarks.report"

INTRODUCTION = f"""# Benchmarks

Made by `{COMMAND}` of the files in `benchmarks/results`; nothing on this page is written by hand.
Each file is a run of `segblocks bench`, all contenders in one process, in turns, on the same
numbers, and only those whose outputs and gradients agree with the reference. Times are medians with
the 20th and 80th percentile, Python included; memory is what a call needs beyond its inputs; the
error is the largest relative one of an output or a gradient. "Beside ours" says how many times
slower or faster than segblocks a contender is, and bars to the left of the line are those that are
faster.
"""

NO_GPU = "**There are no figures of a GPU yet**: the kernels have not been measured on one."

FIELDS = (
    "cpu",
    "cores",
    "threads",
    "load",
    "clock",
    "gpu",
    "cuda",
    "torch",
    "triton",
    "python",
    "commit",
    "date",
)


def main(argv: Sequence[str] | None = None) -> None:
    """Write the page and its plots."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks" / "results")
    parser.add_argument("--docs", type=Path, default=ROOT / "docs")
    args = parser.parse_args(argv)
    files = sorted(args.results.glob("*.json"))
    if not files:
        sys.exit(f"{args.results}: no results; `segblocks bench OP --json FILE` makes some")
    write_report({file.stem: load_results(file) for file in files}, args.docs)


def write_report(results: dict[str, Results], docs: Path) -> None:
    """Write ``benchmarks.md`` and ``images/benchmark_*.svg`` into a folder.

    Args:
        results: name of the file -> its content.
        docs: the folder.
    """
    (docs / "images").mkdir(parents=True, exist_ok=True)
    rows = [row for result in results.values() for row in result.rows]
    parts = [INTRODUCTION]
    if all(row.device == "cpu" for row in rows):
        parts.append(NO_GPU + "\n")
    for name, result in results.items():
        image = f"images/benchmark_{name}.svg"
        plot(result, docs / image)
        parts.append(section(name, result, image))
    (docs / "benchmarks.md").write_text("\n".join(parts), encoding="utf-8")


def section(name: str, result: Results, image: str) -> str:
    """Write what one file holds."""
    told = [f"{field} {result.machine[field]}" for field in FIELDS if result.machine.get(field)]
    lines = [f"## {name}", "", f"{', '.join(told)}."]
    if result.machine.get("note"):
        lines += ["", f"**{result.machine['note']}**"]
    lines += ["", f"![ratios to segblocks]({image})", ""]
    for (op, shape), group in groupby(result.rows, lambda row: (row.op, row.shape)):
        rows = list(group)
        sizes = ", ".join(f"{key} {value}" for key, value in rows[0].sizes.items())
        lines += [f"### {op}, {shape}", "", f"{sizes}.", "", *table(rows), ""]
        lines += _reasons(rows)
    return "\n".join(lines)


def table(rows: Sequence[Row]) -> list[str]:
    """One line a contender that was timed."""
    lines = [
        f"| problem | contender | {' | '.join(HEADINGS)} |",
        "|---" * (2 + len(HEADINGS)) + "|",
    ]
    for key, group in by_problem(rows):
        ours = find_ours(group)
        for row in group:
            if row.taken is not None:
                columns = [_short(key), row.contender, *cells(row, ours)]
                lines.append(f"| {' | '.join(columns)} |")
    return lines


def _reasons(rows: Sequence[Row]) -> list[str]:
    """What was not timed, each reason once."""
    found: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        if row.refused is not None:
            problems = found.setdefault((row.contender, row.refused), [])
            problems.append(f"{row.dtype} {row.direction}")
    lines = [
        f"- {contender} ({', '.join(problems)}): {reason}"
        for (contender, reason), problems in found.items()
    ]
    return ["Not timed:", "", *lines, ""] if lines else []


def _short(key: ProblemKey) -> str:
    return f"{key.device} {key.dtype} {key.direction}"


def ratios(result: Results) -> dict[str, dict[str, float]]:
    """Of every problem that was timed: contender beside ours -> its time over ours."""
    found: dict[str, dict[str, float]] = {}
    for key, group in by_problem(result.rows):
        ours = find_ours(group)
        if ours is None or ours.taken is None:
            continue
        others = {
            row.contender: row.taken.median / ours.taken.median
            for row in group
            if row.contender != OURS and row.taken is not None
        }
        if others:
            found[f"{key.op} {key.shape} {_short(key)}"] = others
    return found


def plot(result: Results, path: Path) -> None:
    """Draw the ratios as bars on a logarithmic axis, from the line at 1, under their problem."""
    matplotlib: Any = require("matplotlib", "bench")
    # Names of elements and the date would make each picture new.
    matplotlib.rcParams.update({"svg.hashsalt": "segblocks", "svg.fonttype": "none"})
    figure_module: Any = require("matplotlib.figure", "bench")
    problems = ratios(result)
    lines = sum(1 + len(others) for others in problems.values())
    figure = figure_module.Figure(figsize=(9, 0.8 + 0.22 * max(1, lines)), layout="constrained")
    axes = figure.add_subplot()
    ticks: dict[int, str] = {}
    line = 0
    for problem, others in problems.items():
        beside = axes.get_yaxis_transform()
        axes.text(0.01, line, problem, transform=beside, va="center", fontsize=7, weight="bold")
        for place, (contender, ratio) in enumerate(others.items(), line + 1):
            ticks[place] = contender
            _bar(axes, place, ratio)
        line += 1 + len(others)
    axes.set_yticks(list(ticks), list(ticks.values()), fontsize=7)
    axes.set_ylim(line - 0.4, -0.6)
    axes.set_xscale("log")
    # Each bar has its number; powers of ten do for the axis.
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("")
    axes.margins(x=0.1)
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_xlabel("time over that of segblocks; red: faster than segblocks")
    figure.savefig(path, metadata={"Date": None})


def _bar(axes: Any, place: int, ratio: float) -> None:
    slower = ratio >= 1
    axes.barh(place, ratio - 1, left=1, color="#4477aa" if slower else "#ee6677")
    side = "left" if slower else "right"
    axes.annotate(f" {ratio:.2f} ", (ratio, place), va="center", ha=side, fontsize=7)


if __name__ == "__main__":
    main()
