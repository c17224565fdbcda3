"""How many frames a second a loader with two workers reads from folders like those of DAVIS.

OMP_NUM_THREADS=1 pytest benchmarks/data/bench_readers.py \
    -o python_files='bench_*.py' -o python_functions='bench_*'
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch.utils.data import DataLoader, Dataset

from segblocks.data import VideoDataset, open_dataset
from segblocks.data.synthetic import SyntheticWorld, world_config, write_world

SIZE = (480, 854)
NUM_FRAMES, VIDEOS, CLIP = 12, 8, 3


class Clips(Dataset[int]):
    """Short pieces of the videos of a dataset, frames and masks; gives the number of frames."""

    def __init__(self, videos: VideoDataset) -> None:
        self.videos = videos

    def __len__(self) -> int:
        return len(self.videos) * (NUM_FRAMES // CLIP)

    def __getitem__(self, index: int) -> int:
        video, piece = divmod(index, NUM_FRAMES // CLIP)
        sample = self.videos[video]
        times = range(piece * CLIP, (piece + 1) * CLIP)
        frames = np.stack([sample.read_frame(t) for t in times])
        truths = [sample.read_truth(t) for t in times]
        assert frames.shape[1:3] == truths[0].masks.shape[1:] == SIZE
        return len(frames)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("davis")
    world = SyntheticWorld(world_config(size=SIZE, num_frames=NUM_FRAMES), seed=1)
    write_world(world, "davis2017", folder, count=VIDEOS)
    return folder


@pytest.mark.parametrize("workers", [0, 2])
def bench_davis(benchmark: Any, root: Path, workers: int) -> None:
    """Read all clips once; each worker scans the videos that it meets, as in a first epoch."""

    def read() -> int:
        clips = Clips(open_dataset("davis2017", root))
        return sum(DataLoader(clips, batch_size=None, num_workers=workers))

    frames = benchmark.pedantic(read, rounds=3, warmup_rounds=1)
    assert frames == VIDEOS * NUM_FRAMES
    benchmark.extra_info["frames_a_second"] = round(frames / benchmark.stats.stats.median, 1)
    benchmark.extra_info["cores"] = os.cpu_count()
