"""Masked cross-attention against what Mask2Former-style decoders run today."""

from __future__ import annotations

from benchmarks.kernels.suites import benchmark_of
from segblocks.bench import masked_cross_attention

bench_masked_cross_attention = benchmark_of(masked_cross_attention.SUITE)
