"""Rows as people read them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import NamedTuple

from segblocks.bench.compare import Row
from segblocks.bench.suite import OURS


class ProblemKey(NamedTuple):
    """What rows that can be compared have in common."""

    op: str
    shape: str
    device: str
    dtype: str
    direction: str


def key_of(row: Row) -> ProblemKey:
    """Return the problem of a row."""
    return ProblemKey(row.op, row.shape, row.device, row.dtype, row.direction)


def by_problem(rows: Iterable[Row]) -> list[tuple[ProblemKey, list[Row]]]:
    """Group rows that stand together and have the same problem."""
    return [(key, list(group)) for key, group in groupby(rows, key_of)]


def cells(row: Row, ours: Row | None) -> list[str]:
    """The columns of a row: time, spread, memory, error, and how it compares with ours.

    Args:
        row: one that was timed.
        ours: of the same problem, or None where it was not measured.
    """
    assert row.taken is not None
    assert row.error is not None
    taken = row.taken
    peak = "-" if taken.peak_bytes is None else f"{taken.peak_bytes / 2**20:.1f} MiB"
    spread = f"{seconds(taken.p20)} .. {seconds(taken.p80)}"
    return [seconds(taken.median), spread, peak, f"{row.error:.0e}", relation(row, ours)]


HEADINGS = ("time", "20 % .. 80 %", "memory", "error", "beside ours")


def relation(row: Row, ours: Row | None) -> str:
    """Say how much slower or faster than ours a row is.

    Args:
        row: one that was timed.
        ours: of the same problem, or None.

    Returns:
        Such as "3.1x slower"; "ours" for ours, "-" where there is nothing to compare with.
    """
    if row.contender == OURS:
        return "ours"
    if ours is None or ours.taken is None or row.taken is None:
        return "-"
    ratio = row.taken.median / ours.taken.median
    return f"{ratio:.2f}x slower" if ratio >= 1 else f"{1 / ratio:.2f}x faster"


def find_ours(rows: Iterable[Row]) -> Row | None:
    """Return our row among those of a problem, if it was measured."""
    return next((row for row in rows if row.contender == OURS), None)


def seconds(value: float) -> str:
    """Write a time with three digits.

    Example:
        >>> seconds(0.01234), seconds(2.5e-6), seconds(120.0)
        ('12.3 ms', '2.50 us', '120 s')
    """
    for unit, factor in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if value >= factor or unit == "us":
            scaled = value / factor
            digits = 2 if scaled < 9.995 else 1 if scaled < 99.95 else 0
            return f"{scaled:.{digits}f} {unit}"
    raise AssertionError(value)


def as_text(key: ProblemKey, sizes: dict[str, int | float], rows: Sequence[Row]) -> str:
    """Write a problem for the terminal, those that did not run with their reasons."""
    named = ", ".join(f"{name}={value}" for name, value in sizes.items())
    head = f"{key.op} {key.shape}, {key.dtype}, {key.direction}, {key.device}\n  ({named})"
    ours = find_ours(rows)
    timed = [["", *HEADINGS]]
    timed += [[row.contender, *cells(row, ours)] for row in rows if row.taken is not None]
    widths = [max(map(len, column)) for column in zip(*timed, strict=True)]
    lines = [head]
    lines += [
        "  "
        + "  ".join(f"{cell:{width}}" for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in timed
    ]
    lines += [f"  {row.contender}: {row.refused}" for row in rows if row.refused is not None]
    return "\n".join(lines)
