"""A model on held-out videos of the synthetic world, next to predictions that need no training.

VIS by AP, VPS by VPQ and STQ, VOS by J&F, PET by HOTA. For VIS and VPS the baselines are shown the
truth of the first frame, classes included, which a model has to find out by itself.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence

import torch

from benchmarks.learning.baselines import Predict
from benchmarks.learning.judge import Judged, Judgement, as_json, asked, judge_all
from benchmarks.learning.options import add_held_out, add_model, held_out, predictors_of
from benchmarks.learning.report import Table, this_command, write_report
from segblocks.data.synthetic import SyntheticWorld, open_held_out
from segblocks.metrics import HOTA, STQ, VPQ, JAndF, TrackAP

METRICS: Judged = {
    "vis": {TrackAP: ["AP"]},
    "vps": {VPQ: ["VPQ"], STQ: ["STQ"]},
    "vos": {JAndF: ["J&F"]},
    "pet": {HOTA: ["HOTA"]},
}


def measure(
    predictors: Mapping[str, Predict], world: SyntheticWorld, tasks: Sequence[str] = tuple(METRICS)
) -> dict[str, dict[str, Judgement]]:
    """Return task -> predictor -> what it reached."""
    return {kind: judge_all(predictors, asked(world, kind), list(METRICS[kind])) for kind in tasks}


def table_of(title: str, judged: dict[str, dict[str, Judgement]]) -> Table:
    """Return the main numbers of all tasks."""
    columns = [
        (kind, metric.__name__, name)
        for kind in judged
        for metric, numbers in METRICS[kind].items()
        for name in numbers
    ]
    names = next(iter(judged.values()))
    rows = {
        name: [judged[kind][name].summary[metric][number] for kind, metric, number in columns]
        for name in names
    }
    return Table(title, [f"{kind.upper()} {number}" for kind, _, number in columns], rows)


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_model(parser)
    add_held_out(parser)
    parser.add_argument("--preset", default="default")
    parser.add_argument("--tasks", nargs="+", choices=METRICS, default=tuple(METRICS))
    args = parser.parse_args()
    torch.manual_seed(0)
    world = open_held_out(args.preset, **held_out(args))
    judged = measure(predictors_of(args), world, args.tasks)
    height, width = args.size
    title = (
        f"{args.videos} held-out videos, {args.preset}, {args.frames} frames of {width}x{height}"
    )
    command = this_command("benchmarks.learning.synthetic", ("--out", "--checkpoint"))
    print(write_report(args.out, [table_of(title, judged)], as_json(judged), command=command))


if __name__ == "__main__":
    main()
