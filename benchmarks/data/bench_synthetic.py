"""How many frames a second the synthetic world gives, with masks and semantic maps.

OMP_NUM_THREADS=1 pytest benchmarks/data/bench_synthetic.py \
    -o python_files='bench_*.py' -o python_functions='bench_*' --benchmark-group-by=group
"""

from __future__ import annotations

import os
import time
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np
import pytest

from segblocks.data.synthetic import SyntheticWorld, world_config

SIZE = (384, 640)
PRESETS = ("default", "hard", "refvos")
VIDEOS = 8  # a process


def _read(preset: str, first: int, num_videos: int, clip: int | None) -> tuple[int, float]:
    """Read videos whole, or ``clip`` frames of each; returns the frames and the CPU time."""
    world = SyntheticWorld(world_config(preset, size=SIZE), seed=1)
    begun, frames = time.process_time(), 0
    for index in range(first, first + num_videos):
        sample = world[index]
        # As a clip sampler does: frames that follow each other, from anywhere.
        start = 0 if clip is None else index % (sample.num_frames - clip)
        for t in range(start, sample.num_frames if clip is None else start + clip):
            frames += sample.read_frame(t).shape[0] == SIZE[0]
            truth = sample.read_truth(t)
            assert truth.semantic is not None
    return frames, time.process_time() - begun


@pytest.fixture
def pool() -> Any:
    with ProcessPoolExecutor(2) as pool:
        list(
            pool.map(_read, ["default"] * 2, [0, 1], [1] * 2, [None] * 2)
        )  # textures are made once
        yield pool


@pytest.mark.parametrize("clip", [None, 3], ids=["whole", "clips_of_3"])
@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.benchmark(group="one process")
def bench_one_process(benchmark: Any, preset: str, clip: int | None) -> None:
    """Read in this process."""
    counts: list[tuple[int, float]] = []
    benchmark.pedantic(
        lambda: counts.append(_read(preset, 0, VIDEOS, clip)), rounds=5, warmup_rounds=1
    )
    _note(benchmark, counts)


@pytest.mark.parametrize("clip", [None, 3], ids=["whole", "clips_of_3"])
@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.benchmark(group="two processes")
def bench_two_processes(benchmark: Any, pool: Any, preset: str, clip: int | None) -> None:
    """Read in two processes at once, as a loader with two workers does."""
    counts: list[tuple[int, float]] = []

    def read() -> None:
        firsts = [0, VIDEOS]
        parts = list(pool.map(_read, [preset] * 2, firsts, [VIDEOS] * 2, [clip] * 2))
        counts.append((sum(n for n, _ in parts), sum(s for _, s in parts)))

    benchmark.pedantic(read, rounds=5, warmup_rounds=1)
    _note(benchmark, counts)


def _note(benchmark: Any, counts: list[tuple[int, float]]) -> None:
    """Store frames a second by the clock, and by CPU time, which a busy machine changes less."""
    frames = counts[-1][0]
    benchmark.extra_info["frames_a_second"] = round(frames / benchmark.stats.stats.median, 1)
    by_cpu = float(np.median([n / seconds for n, seconds in counts]))
    benchmark.extra_info["frames_a_cpu_second"] = round(by_cpu, 1)
    benchmark.extra_info["cores"] = os.cpu_count()
