"""Measurements of the operations and models, beside what one would use instead."""

from __future__ import annotations

from segblocks.bench.compare import Prepared, Row, compare, prepare
from segblocks.bench.measurement import Measurement, measure, measure_together, peak_memory
from segblocks.bench.shapes import parse_shape
from segblocks.bench.suite import Contender, Problem, Setting, Suite

__all__ = [
    "Contender",
    "Measurement",
    "Prepared",
    "Problem",
    "Row",
    "Setting",
    "Suite",
    "compare",
    "measure",
    "measure_together",
    "parse_shape",
    "peak_memory",
    "prepare",
]
