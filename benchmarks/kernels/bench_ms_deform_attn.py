"""Deformable attention, as it is and fused, against grid_sample and a compiled extension.

pytest benchmarks/kernels/bench_ms_deform_attn.py \
    -o python_files='bench_*.py' -o python_functions='bench_*' --benchmark-group-by=group
"""

from __future__ import annotations

from benchmarks.kernels.suites import benchmark_of
from segblocks.bench import ms_deform_attn, ms_deform_attn_fused

bench_ms_deform_attn = benchmark_of(ms_deform_attn.SUITE)
bench_ms_deform_attn_fused = benchmark_of(ms_deform_attn_fused.SUITE)
