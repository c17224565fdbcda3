"""Nothing grows with the frames of a stream, or with the models and videos that were used."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from numpy.typing import NDArray

from segblocks.inference import segment, stream
from segblocks.inference.encode import VideoWriter
from segblocks.inference.heap import release_heap
from segblocks.tasks import VIS, VOS
from tests.oracle import OracleModel, squares_video, truth
from tests.zoo.small_systems import SYSTEMS, make_system, noise_video, tasks_of

CLASSES = ("ground", "cat", "dog", "cow", "hen")


def live_tensors() -> int:
    gc.collect()
    return sum(issubclass(type(each), torch.Tensor) for each in gc.get_objects())


def resident() -> int:
    release_heap()
    return psutil.Process().memory_info().rss


def descriptors() -> int:
    return psutil.Process().num_fds()


@pytest.mark.parametrize("num_frames", [500, pytest.param(10_000, marks=pytest.mark.slow)])
def test_a_long_stream_of_tiny_frames(num_frames: int) -> None:
    video = squares_video(20, (16, 32))

    def camera() -> Iterator[NDArray[np.uint8]]:
        for t in range(num_frames):
            yield video[t % 20]

    model = OracleModel()
    tasks = [VIS(CLASSES), VOS(truth(video, 1)[:1])]
    results = stream(model, camera(), tasks, clip_length=6, overlap=2)

    def forget(result: object) -> int:
        """Let go of a frame, and of what the model remembers for other tests."""
        for remembered in (model.asked, model.extracted, model.modes):
            remembered.clear()
        return 1

    def measured(frames: int) -> tuple[int, int, int]:
        """After so many frames more, what the stream holds."""
        assert sum(map(forget, islice(results, frames))) == frames
        return live_tensors(), descriptors(), resident()

    # Both times at the same place of a clip, of which each brings four frames.
    early, late = measured(100), measured(num_frames - 120)
    assert late[:2] == early[:2]
    assert late[2] - early[2] < 3e6
    assert len(list(results)) == 20


@pytest.mark.parametrize("num_models", [20, pytest.param(1000, marks=pytest.mark.slow)])
def test_models_that_were_used_are_freed(num_models: int) -> None:
    def use(system: str) -> weakref.ref[torch.nn.Module]:
        model = make_system(system)
        segment(model, noise_video(0, 2), tasks_of(model)[0])
        return weakref.ref(model)

    for system in SYSTEMS:
        use(system)  # fills what is kept once a process
    tensors, files, memory = live_tensors(), descriptors(), resident()
    used = [use(system) for system in islice(cycle(SYSTEMS), num_models)]
    assert (live_tensors(), descriptors()) == (tensors, files)
    assert [model() for model in used] == [None] * num_models
    assert resident() - memory < 20e6


def test_videos_that_were_read_or_written_are_closed(tmp_path: Path) -> None:
    pytest.importorskip("av")
    model = OracleModel()

    def use(path: Path) -> None:
        with VideoWriter(path, 25, (16, 32)) as writer:
            for frame in squares_video(3, (16, 32)):
                writer.write(frame)
        segment(model, path, VIS(CLASSES)).save(path.with_suffix(""), overlay=True)
        path.write_bytes(path.read_bytes()[:500])
        with pytest.raises(ValueError, match=path.name):
            segment(model, path, VIS(CLASSES))

    use(tmp_path / "first.mp4")
    before = descriptors()
    for i in range(8):
        use(tmp_path / f"{i}.mp4")
    gc.collect()
    assert descriptors() == before
