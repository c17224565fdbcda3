"""J&F of a model on real clips in the layout of DAVIS, next to what needs no training.

Each clip is asked for by the mask of each object in the frame where it starts, by one point of that
mask, the pixel farthest from its border, and, of a model that takes boxes, by the box around it.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Collection
from pathlib import Path

import torch

from benchmarks.learning.baselines import (
    Predict,
    deepest_points,
    tight_boxes,
)
from benchmarks.learning.judge import Judgement, as_json, judge_all
from benchmarks.learning.options import add_model, predictors_of
from benchmarks.learning.report import Table, this_command, write_report
from segblocks.data import VideoSample, open_dataset
from segblocks.inference import task_of
from segblocks.metrics import JAndF
from segblocks.tasks import HintTask, Task

MAIN = "J&F"


def open_clips(data: Path) -> list[VideoSample]:
    """Read the clips of a folder that holds ``clips``, or is it."""
    root = data / "clips" if (data / "clips").is_dir() else data
    dataset = open_dataset("davis2017", root)
    return [dataset[index] for index in range(len(dataset))]


def ask_by_hints(sample: VideoSample) -> dict[str, Task]:
    """Return what is asked of a clip, by the kind of hint."""
    masks = task_of(sample, "vos")
    assert isinstance(masks, HintTask)
    return {"mask": masks, "point": deepest_points(masks), "box": tight_boxes(masks)}


def measure(
    predictors: dict[str, Predict], data: Path, boxes: Collection[str] = ()
) -> dict[str, dict[str, Judgement]]:
    """Return hint -> predictor -> what it reached.

    Args:
        predictors: by name.
        data: as of :func:`open_clips`.
        boxes: names of those that take boxes.
    """
    asked = [(sample, ask_by_hints(sample)) for sample in open_clips(data)]
    able = {"box": {name: predict for name, predict in predictors.items() if name in boxes}}
    return {
        hint: judge_all(takers, [(sample, tasks[hint]) for sample, tasks in asked], [JAndF])
        for hint in asked[0][1]
        if (takers := able.get(hint, predictors))
    }


def table_of(hint: str, judged: dict[str, Judgement]) -> Table:
    """Return J&F for each clip, and their mean."""
    clips = list(next(iter(judged.values())).per_video)
    rows = {
        name: [
            *(found.per_video[clip]["JAndF"][MAIN] for clip in clips),
            found.summary["JAndF"][MAIN],
        ]
        for name, found in judged.items()
    }
    return Table(f"J&F x 100, first {hint} given", [*clips, "mean"], rows)


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_model(parser)
    data = os.environ.get("SEGBLOCKS_DATA")
    parser.add_argument("--boxes", action="store_true", help="the model takes boxes, too")
    parser.add_argument("--data", type=Path, default=data, required=data is None)
    args = parser.parse_args()
    torch.manual_seed(0)
    if args.boxes and args.model is None:
        parser.error("--boxes needs a --model")
    boxes = [Path(args.model).name] if args.boxes else []
    judged = measure(predictors_of(args), args.data, boxes)
    tables = [table_of(hint, found) for hint, found in judged.items()]
    command = this_command("benchmarks.learning.clips", ("--data", "--out", "--checkpoint"))
    print(write_report(args.out, tables, as_json(judged), command=command))


if __name__ == "__main__":
    main()
