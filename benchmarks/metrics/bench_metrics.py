"""Each metric on one video of the size and length of its benchmark.

Run with ``pytest benchmarks/metrics -o python_files='bench_*.py' -o python_functions='bench_*'``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from segblocks.data.sample import ObjectInfo, Truth, VideoSample
from segblocks.frame_result import FrameResult
from segblocks.metrics import (
    HOTA,
    PQ,
    STQ,
    VPQ,
    GScore,
    JAndF,
    MeanIoU,
    TrackAP,
    VideoConsistency,
    VideoMetric,
)
from segblocks.results import TrackSummary, VideoSegmentation, VideoSegmentationBuilder
from segblocks.tasks import VIS, VOS, VPS, VSS, Task
from segblocks.text.vocabulary import get_vocabulary

STUFF = 24


@dataclass(frozen=True)
class Scene:
    """Discs that drift over stuff in stripes, and the same a little displaced as the prediction."""

    frames: int
    size: tuple[int, int]
    objects: int
    vocabulary: str

    def masks(self, t: int, shift: int = 0) -> NDArray[np.bool_]:
        """(O, H, W), none overlapping another; edges are rough as those of real masks are."""
        height, width = self.size
        y, x = np.ogrid[:height, :width]
        radius = height / 6
        rough = 6 * np.sin(x / 5 + y / 7)
        owner = np.full(self.size, -1)
        for i in range(self.objects):
            row = height * (0.3 + 0.4 * (i % 2))
            column = (width * (i + 0.5) / self.objects + 4 * t + shift) % width
            owner[(y - row) ** 2 + (x - column) ** 2 < (radius + rough) ** 2] = i
        return owner == np.arange(self.objects)[:, None, None]

    def stuff(self, shift: int = 0) -> NDArray[np.int32]:
        """(H, W), indices of stuff classes."""
        ids = np.array(get_vocabulary(self.vocabulary).stuff_ids[:STUFF] or (0,))
        stripes = (np.arange(self.size[1]) + shift) * len(ids) // (self.size[1] + abs(shift) + 1)
        return np.broadcast_to(ids[stripes], self.size).astype(np.int32)

    def label(self, i: int) -> int:
        """The class of an object."""
        things = get_vocabulary(self.vocabulary).thing_ids
        return things[i % len(things)]

    def truth(self) -> VideoSample:
        """The annotated video, its annotation in memory, so that only judging is timed."""
        truths = []
        ids = tuple(range(1, self.objects + 1))
        for t in range(self.frames):
            masks, semantic = self.masks(t), self.stuff().astype(np.int16)
            for i, mask in enumerate(masks):
                semantic[mask] = self.label(i)
            truths.append(Truth(ids, masks, semantic))
        vocabulary = get_vocabulary(self.vocabulary)
        return VideoSample(
            "scene",
            self.frames,
            self.size,
            lambda t: np.zeros((*self.size, 3), np.uint8),
            truths.__getitem__,
            annotated=tuple(range(self.frames)),
            objects=tuple(ObjectInfo(i, self.label(i - 1)) for i in ids),
            vocabulary=vocabulary,
        )

    def prediction(self, kind: str) -> VideoSegmentation:
        """What a task gave for it."""
        vocabulary = get_vocabulary(self.vocabulary)
        task: Task = {
            "vis": lambda: VIS(vocabulary),
            "vps": lambda: VPS(vocabulary),
            "vss": lambda: VSS(vocabulary),
            "vos": lambda: VOS(self.masks(0)),
        }[kind]()
        ids = () if kind == "vss" else tuple(range(1, self.objects + 1))
        known = None if kind == "vos" else vocabulary
        builder = VideoSegmentationBuilder(self.size, task, known)
        for t in range(self.frames):
            nothing = (None,) * len(ids)
            semantic = self.stuff(5) if kind in ("vps", "vss") else None
            masks = self.masks(t, 5)[: len(ids)]
            builder.add(FrameResult(t, ids, masks, nothing, nothing, semantic, known))
        summaries = [
            TrackSummary(i, None if known is None else self.label(i - 1), 0.9) for i in ids
        ]
        return builder.finish(self.frames, summaries)


DAVIS = Scene(70, (480, 854), 3, "youtube_vis_2021")
YOUTUBE = Scene(27, (720, 1280), 4, "youtube_vis_2021")
VIPSEG = Scene(24, (720, 1280), 8, "vipseg")
VSPW = Scene(48, (480, 854), 0, "vspw")
KITTI = Scene(40, (375, 1242), 8, "kitti_step")

CASES: dict[str, tuple[Callable[[], VideoMetric], Scene, str]] = {
    "track_ap-youtube_vis": (TrackAP, YOUTUBE, "vis"),
    "hota_mask-youtube_vis": (HOTA, YOUTUBE, "vis"),
    "hota_box-youtube_vis": (partial(HOTA, similarity="box"), YOUTUBE, "vis"),
    "j_and_f-davis": (JAndF, DAVIS, "vos"),
    "g_score-youtube_vos": (GScore, YOUTUBE, "vos"),
    "pq-vipseg": (PQ, VIPSEG, "vps"),
    "vpq-vipseg": (partial(VPQ, (1, 2, 4, 6)), VIPSEG, "vps"),
    "stq-kitti_step": (STQ, KITTI, "vps"),
    "miou-vspw": (MeanIoU, VSPW, "vss"),
    "video_consistency-vspw": (VideoConsistency, VSPW, "vss"),
}


@pytest.mark.parametrize("case", CASES)
def bench_update(benchmark: Any, case: str) -> None:
    """Judge one video; masks are decoded inside, pictures never read."""
    factory, scene, kind = CASES[case]
    truth, prediction = scene.truth(), scene.prediction(kind)
    metrics = iter([factory() for _ in range(4)])
    benchmark.pedantic(
        lambda: next(metrics).update(truth, prediction), rounds=3, warmup_rounds=1, iterations=1
    )
    benchmark.extra_info["frames_per_s"] = scene.frames / benchmark.stats.stats.median


@pytest.mark.parametrize("case", CASES)
def bench_compute(benchmark: Any, case: str) -> None:
    """Add up 300 videos."""
    factory, scene, kind = CASES[case]
    short = replace(scene, frames=18, size=(45, 80))
    metric, other = factory(), factory()
    other.update(short.truth(), short.prediction(kind))
    state = other.state_dict()
    (record,) = state["videos"].values()
    metric.load_state_dict(state | {"videos": {str(i): record for i in range(300)}})
    benchmark.pedantic(metric.compute, rounds=3, warmup_rounds=1)
