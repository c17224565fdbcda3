"""Mean and spread of numbers over seeds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence

from benchmarks.learning.report import Table


def mean_and_deviation(
    found: Mapping[str, Sequence[Mapping[str, float]]], columns: Sequence[str]
) -> list[Table]:
    """Return a table of means over runs, and one of standard deviations.

    Args:
        found: name of a row -> a run for each seed, column to number.
        columns: what to show; NaN where a run lacks it, or where there is one run only.
    """
    mean, deviation = {}, {}
    for name, runs in found.items():
        every = [[run.get(column, math.nan) for run in runs] for column in columns]
        values = [[value for value in column if not math.isnan(value)] for column in every]
        mean[name] = [statistics.fmean(v) if v else math.nan for v in values]
        deviation[name] = [statistics.stdev(v) if len(v) > 1 else math.nan for v in values]
    return [
        Table("mean over seeds", columns, mean),
        Table("standard deviation over seeds", columns, deviation),
    ]
