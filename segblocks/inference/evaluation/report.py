"""What an evaluation found: numbers for each video and for all, as tables and files."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Numbers = dict[str, dict[str, float]]

_COLUMNS = 7
_NOTHING = "-"


@dataclass(frozen=True)
class Evaluation:
    """Hold the numbers of an evaluation, all from 0 to 1.

    Args:
        dataset: its name.
        summary: metric -> name -> number over all videos; the first of the first is the main one.
        per_video: the same for each video, in the order of the dataset, without those that have no
            annotation.
        counts: of "videos", "judged" ones, "frames", "annotated_frames" and "objects".
        missing: videos that are not done yet; the numbers are not those of the dataset then.
        out: the folder with the records.
        run: what was evaluated, and how.
    """

    dataset: str
    summary: Numbers
    per_video: dict[str, Numbers] = field(repr=False)
    counts: dict[str, int]
    missing: tuple[str, ...]
    out: Path
    run: dict[str, Any] = field(repr=False)

    @property
    def score(self) -> float:
        """The main number, NaN where nothing was judged."""
        return next(iter(next(iter(self.summary.values())).values()))

    def table(self, *, per_video: bool = True) -> str:
        """Return the numbers as aligned text, times 100; those of all videos come last.

        Args:
            per_video: whether each video has a line, or only the total.
        """
        columns = [
            (m, key) for i, m in enumerate(self.summary) for key in self._shown(m, first=not i)
        ]
        rows = [["x 100", *(key for _, key in columns)]]
        if per_video:
            rows += [[name, *_cells(found, columns)] for name, found in self.per_video.items()]
        rows.append([self._total_name(), *_cells(self.summary, columns)])
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [_line(row, widths) for row in rows]
        rule = "-" * len(lines[0])
        return "\n".join([lines[0], rule, *lines[1:-1], *([rule] * per_video), lines[-1]])

    def csv(self) -> str:
        """Return all numbers of each video, 0 to 1, as comma-separated text."""
        columns = [(metric, key) for metric, found in self.summary.items() for key in found]
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["video", *(f"{metric} {key}" for metric, key in columns)])
        for name, found in self.per_video.items():
            writer.writerow([name, *(found[metric][key] for metric, key in columns)])
        return text.getvalue()

    def as_json(self) -> dict[str, Any]:
        """Return everything as plain values; numbers that do not exist are None."""
        return {
            "run": self.run,
            "counts": self.counts,
            "summary": _without_nan(self.summary),
            "per_video": {name: _without_nan(found) for name, found in self.per_video.items()},
        }

    def _shown(self, metric: str, *, first: bool) -> Iterator[str]:
        """The columns of the text: many of the main metric, the first of the others."""
        yield from list(self.summary[metric])[: _COLUMNS if first else 1]

    def _total_name(self) -> str:
        judged, videos = self.counts["judged"], self.counts["videos"]
        done = f"{judged} videos" if judged == videos else f"{judged} of {videos} videos"
        return f"{self.dataset}, {done}"


def _cells(found: Numbers, columns: list[tuple[str, str]]) -> list[str]:
    numbers = (found[metric][key] for metric, key in columns)
    return [_NOTHING if math.isnan(number) else f"{100 * number:.2f}" for number in numbers]


def _line(row: list[str], widths: list[int]) -> str:
    first, *others = (
        cell.rjust(width) if i else cell.ljust(width)
        for i, (cell, width) in enumerate(zip(row, widths, strict=True))
    )
    return "  ".join([first, *others])


def _without_nan(found: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float | None]]:
    return {
        metric: {key: None if math.isnan(value) else value for key, value in numbers.items()}
        for metric, numbers in found.items()
    }
