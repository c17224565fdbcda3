"""Tune the propagation of labels on the synthetic world, one knob after the other.

The videos are of a seed that training may use: nothing of the clips or of the held-out worlds has a
part in it. What it finds are the defaults of `PropagationSettings`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.learning.baselines import Backbone, propagate_first
from benchmarks.learning.features import FrozenBackbone
from benchmarks.learning.judge import judge
from benchmarks.learning.propagation import PropagationSettings
from benchmarks.learning.report import Table, this_command, write_report
from segblocks.data import VideoSample
from segblocks.data.synthetic import SyntheticWorld, world_config
from segblocks.inference import task_of
from segblocks.metrics import JAndF

START = PropagationSettings((8,), 10, 0.05, 0.25, None, 0.1)
KNOBS: dict[str, list[Any]] = {
    "strides": [(4,), (8,), (16,), (4, 8), (8, 16), (4, 8, 16), (2, 4, 8, 16)],
    "temperature": [0.01, 0.02, 0.05, 0.1, 0.2],
    "neighbours": [3, 5, 10, 20, 40],
    "window": [0.08, 0.12, 0.18, 0.25, 0.4],
    "first_window": [0.12, 0.25, 0.5, None],
    "disc": [0.02, 0.04, 0.06, 0.09, 0.12],
    "similarity": [None, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9],
}

_OF_POINTS = ("disc", "similarity")


def in_memory(sample: VideoSample) -> VideoSample:
    """Return a video whose frames are drawn once."""
    return replace(sample, read_frame=cache(sample.read_frame), read_truth=cache(sample.read_truth))


def remembering(backbone: Backbone) -> Backbone:
    """Return a backbone that computes a frame once."""
    known: dict[bytes, dict[int, Tensor]] = {}

    def compute(frame: NDArray[np.uint8]) -> dict[int, Tensor]:
        key = frame.tobytes()
        if key not in known:
            known[key] = backbone(frame)
        return known[key]

    return compute


def score(
    settings: PropagationSettings,
    kind: str,
    videos: list[VideoSample],
    backbone: Backbone,
) -> float:
    """J&F of the settings on the videos, for masks ("vos") or points ("pet")."""
    predict = partial(propagate_first, settings=settings, backbone=backbone)
    pairs = [(sample, task) for sample in videos if (task := task_of(sample, kind)) is not None]
    return judge(predict, pairs, [partial(JAndF, "after")]).summary["JAndF"]["J&F"]


def tune(
    measure: Callable[[PropagationSettings, str], float], rounds: int
) -> tuple[PropagationSettings, dict[str, dict[str, float]]]:
    """Turn each knob to its best place in several rounds, those of points by points."""
    known = cache(measure)
    best = START
    tried: dict[str, dict[str, float]] = {}
    for number in range(rounds):
        for knob, places in KNOBS.items():
            kind = "pet" if knob in _OF_POINTS else "vos"
            found = {place: known(replace(best, **{knob: place}), kind) for place in places}
            best = replace(best, **{knob: max(found, key=lambda place: found[place])})
            tried[f"{knob}, round {number + 1}"] = {str(k): v for k, v in found.items()}
    return best, tried


def main() -> None:
    """Tune, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", default="default")
    parser.add_argument("--seed", type=int, default=77)
    parser.add_argument("--videos", type=int, default=8)
    parser.add_argument("--frames", type=int, default=12)
    parser.add_argument("--size", type=int, nargs=2, default=(192, 320), metavar=("H", "W"))
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--out", type=Path, required=True, help="path of the .json and .md")
    args = parser.parse_args()
    config = world_config(args.preset, size=tuple(args.size), num_frames=args.frames)
    world = SyntheticWorld(config, args.seed)
    videos = [in_memory(world[index]) for index in range(args.videos)]
    backbone = remembering(FrozenBackbone())
    best, tried = tune(lambda settings, kind: score(settings, kind, videos, backbone), args.rounds)
    tables = [
        Table(name, list(found), {"J&F": list(found.values())}) for name, found in tried.items()
    ]
    details = {"best": asdict(best), "tried": tried}
    command = this_command("benchmarks.learning.tune", ("--out",))
    print(write_report(args.out, tables, details, command=command))
    print(best)


if __name__ == "__main__":
    main()
