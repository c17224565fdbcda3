"""A model on held-out videos of datasets that show the same things and name different ones.

AP on each dataset, where the model is asked for the classes that the dataset names, and for those
of all of them at once. The baselines are shown the truth of the first frame, classes included.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from statistics import mean

import torch

from benchmarks.learning.baselines import Predict
from benchmarks.learning.judge import Judgement, as_json
from benchmarks.learning.options import add_held_out, add_model, held_out, predictors_of
from benchmarks.learning.report import Table, this_command, write_report
from benchmarks.learning.synthetic import measure
from benchmarks.learning.taxonomies import labels_of
from segblocks.data import VideoSample
from segblocks.data.synthetic import SyntheticWorld, open_held_out
from segblocks.results import VideoSegmentation
from segblocks.tasks import VIS, Task
from segblocks.text import Vocabulary
from segblocks.zoo.tmt_vis.nano import NANO_SHAPES

ALL_SHAPES = tuple(dict.fromkeys(shape for own in NANO_SHAPES.values() for shape in own))


def ask_for_all(predict: Predict) -> Predict:
    """Return what asks for the classes of all datasets, and keeps those of the video's."""

    def wider(sample: VideoSample, task: Task) -> VideoSegmentation:
        result = predict(sample, VIS(ALL_SHAPES))
        assert sample.vocabulary is not None
        assert result.vocabulary is not None
        return narrowed(result, result.vocabulary, sample.vocabulary)

    return wider


def narrowed(result: VideoSegmentation, asked: Vocabulary, known: Vocabulary) -> VideoSegmentation:
    """Return a result as far as it speaks of known classes."""
    columns = [asked.index(name) for name in known.classes if name in asked.classes]
    kept = known.subset([asked.classes[column] for column in columns])
    tracks = [
        replace(track, class_scores=track.class_scores[columns])
        if track.class_scores is not None
        else track
        for track in result.tracks
        if track.class_scores is not None or track.label in known.classes
    ]
    return replace(result, tracks=tuple(tracks), vocabulary=kept)


def numbers_of(
    predictors: Mapping[str, Predict], worlds: Mapping[str, SyntheticWorld]
) -> dict[str, dict[str, Judgement]]:
    """Return dataset -> predictor -> what it reached."""
    return {name: measure(predictors, world, ["vis"])["vis"] for name, world in worlds.items()}


def table_of(title: str, judged: Mapping[str, Mapping[str, Judgement]]) -> Table:
    """Return the AP on each dataset, and the mean."""
    rows = {
        name: [by_name[name].summary["TrackAP"]["AP"] for by_name in judged.values()]
        for name in next(iter(judged.values()))
    }
    return Table(title, [*judged, "mean"], {name: [*row, mean(row)] for name, row in rows.items()})


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_model(parser)
    add_held_out(parser, of="of each dataset")
    parser.add_argument("--preset", default="default")
    args = parser.parse_args()
    torch.manual_seed(0)
    worlds = {
        name: open_held_out(args.preset, **held_out(args), **labels_of(name, own))
        for name, own in NANO_SHAPES.items()
    }
    predictors = predictors_of(args)
    if args.model is not None:
        name = Path(args.model).name
        predictors[f"{name}, asked for all"] = ask_for_all(predictors[name])
    judged = numbers_of(predictors, worlds)
    title = f"AP x 100, {args.videos} held-out videos a dataset, {args.preset}"
    command = this_command("benchmarks.learning.label_spaces", ("--out", "--checkpoint"))
    print(write_report(args.out, [table_of(title, judged)], as_json(judged), command=command))


if __name__ == "__main__":
    main()
