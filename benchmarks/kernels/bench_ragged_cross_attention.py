"""Ragged cross-attention against gathering, padding, a loop over the rows, and xformers."""

from __future__ import annotations

from benchmarks.kernels.suites import benchmark_of
from segblocks.bench import ragged_cross_attention

bench_ragged_cross_attention = benchmark_of(ragged_cross_attention.SUITE)
