"""Measurements of the operations and models, beside what one would use instead."""

from __future__ import annotations

from segblocks.bench.measurement import Measurement, measure, peak_memory
from segblocks.bench.shapes import parse_shape

__all__ = ["Measurement", "measure", "parse_shape", "peak_memory"]
