"""Space-time attention against gathering cells, dense attention and scattering back."""

from __future__ import annotations

from benchmarks.kernels.suites import benchmark_of
from segblocks.bench import space_time_attention

bench_space_time_attention = benchmark_of(space_time_attention.SUITE)
