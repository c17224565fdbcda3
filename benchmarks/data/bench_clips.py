"""How long a training clip of 3 frames of 192x320 takes to make, on one core.

OMP_NUM_THREADS=1 pytest benchmarks/data/bench_clips.py \
    -o python_files='bench_*.py' -o python_functions='bench_*'
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

import pytest

from segblocks.data.clips import (
    ClipDataset,
    ClipRule,
    ClipSource,
    ClipTransform,
    CompositeVideos,
    LinearColors,
)
from segblocks.data.color_jitter import RandomColors
from segblocks.data.indexed import IndexedVideos
from segblocks.data.sample import Frame, Truth, VideoSample
from segblocks.data.sampler import Draw
from segblocks.data.synthetic import SyntheticWorld, world_config

SIZE, STILLS = (192, 320), 20


@dataclass(frozen=True)
class _Still:
    frame: Frame
    truth: Truth

    def read_frame(self, t: int) -> Frame:
        return self.frame

    def read_truth(self, t: int) -> Truth:
        return self.truth


class InMemory(IndexedVideos):
    """Stills that are neither read nor drawn again."""

    def __init__(self, samples: Sequence[VideoSample]) -> None:
        super().__init__("stills", "vps", (s.name for s in samples), samples[0].vocabulary)
        held = [_Still(s.read_frame(0), s.read_truth(0)) for s in samples]
        self.samples = [
            replace(s, read_frame=still.read_frame, read_truth=still.read_truth)
            for s, still in zip(samples, held, strict=True)
        ]

    def _read(self, index: int) -> VideoSample:
        return self.samples[index]


@pytest.mark.parametrize("keep_background", [False, True])
def bench_composites(benchmark: Any, keep_background: bool) -> None:
    """Make a video of cut-outs of stills of 384x640."""
    world = SyntheticWorld(world_config(size=(384, 640), num_frames=1))
    stills = InMemory([world[i] for i in range(STILLS)])
    videos = CompositeVideos(stills, size=SIZE, keep_background=keep_background)
    indices = count()
    benchmark.pedantic(lambda: videos[next(indices)], rounds=100, warmup_rounds=5)


@pytest.mark.parametrize(
    "colors", [LinearColors(), RandomColors(), None], ids=["linear", "random", "none"]
)
@pytest.mark.parametrize("task", ["vis", "vos"])
def bench_world_clips(benchmark: Any, task: str, colors: Any) -> None:
    """Make a clip of the default world, drawn, cropped and resized."""
    transform = ClipTransform(short_sides=(160, 192), crop=(0.75, 0.75), colors=colors)
    world = SyntheticWorld(world_config(size=SIZE))
    source = ClipSource(world, ClipRule(), transform, tasks={task: 1.0}, length=1000)
    dataset, numbers = ClipDataset([source]), count()
    benchmark.pedantic(lambda: dataset[Draw(0, next(numbers), task, 0)], rounds=50, warmup_rounds=5)
