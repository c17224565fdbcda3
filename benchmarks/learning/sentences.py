"""Whether a model reads sentences: RefVOS on held-out videos, by what a sentence needs.

Every video has distractors. Beside the model stand the model with all sentences hidden, and the
true masks of an object that is drawn by chance: what ignores the text cannot be better.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from functools import partial
from statistics import mean

import numpy as np
import torch

from benchmarks.learning.baselines import Predict
from benchmarks.learning.judge import Judgement, as_json, judge
from benchmarks.learning.options import add_held_out, add_model, held_out, model_of
from benchmarks.learning.report import Table, this_command, write_report
from segblocks.data import VideoSample
from segblocks.data.synthetic import SyntheticWorld, open_held_out
from segblocks.data.synthetic.expressions import KINDS, expression_kind
from segblocks.metrics import JAndF
from segblocks.results import FrameResult, TrackSummary, VideoSegmentation, VideoSegmentationBuilder
from segblocks.tasks import RefVOS, Task

_SILENCE = "something"


def silent(task: Task) -> Task:
    """Return the task with sentences that say nothing."""
    return RefVOS([_SILENCE] * len(task.expressions)) if isinstance(task, RefVOS) else task


def hide_sentences(predict: Predict) -> Predict:
    """Return what asks without saying for what."""
    return lambda sample, task: predict(sample, silent(task))


def chance_object(sample: VideoSample, task: Task) -> VideoSegmentation:
    """Predict for each sentence the true masks of some object of the video, drawn by chance."""
    assert isinstance(task, RefVOS)
    rng = np.random.default_rng(len(sample.objects) + sum(map(ord, sample.name)))
    ids = [info.id for info in sample.objects]
    drawn = [ids[i] for i in rng.integers(len(ids), size=len(task.expressions))]
    nothing = (None,) * len(drawn)
    builder = VideoSegmentationBuilder(sample.size, task, None)
    for t in range(sample.num_frames):
        truth = sample.read_truth(t)
        known = dict(zip(truth.ids, truth.masks, strict=True))
        masks = np.stack([known.get(i, np.zeros(sample.size, bool)) for i in drawn])
        builder.add(FrameResult(t, task.object_ids, masks, nothing, nothing))
    return builder.finish(sample.num_frames, [TrackSummary(i) for i in task.object_ids])


def sentences_of(world: SyntheticWorld) -> dict[str, list[tuple[VideoSample, Task]]]:
    """Return what the videos of a world ask for by sentences of each kind."""
    found: dict[str, list[tuple[VideoSample, Task]]] = {kind: [] for kind in KINDS}
    for sample in world:
        for kind, pairs in found.items():
            own = tuple(e for e in sample.expressions if expression_kind(e.text) == kind)
            if own:
                pairs.append((replace(sample, expressions=own), RefVOS([e.text for e in own])))
    return {kind: pairs for kind, pairs in found.items() if pairs}


def measure(predict: Predict, world: SyntheticWorld) -> dict[str, Judgement]:
    """Return kind of sentence -> what was reached."""
    return {
        kind: judge(predict, pairs, [partial(JAndF, "all")], name=kind)
        for kind, pairs in sentences_of(world).items()
    }


def numbers_of(judged: dict[str, Judgement]) -> dict[str, float]:
    """Return J&F of each kind, and their mean."""
    found = {kind: judgement.summary["JAndF"]["J&F"] for kind, judgement in judged.items()}
    return found | {"mean": mean(found.values())}


def table_of(world: SyntheticWorld, judged: dict[str, dict[str, Judgement]]) -> Table:
    """Return a row for each predictor."""
    objects = mean(len(sample.objects) for sample in world)
    rows = {name: list(numbers_of(found).values()) for name, found in judged.items()}
    columns = [*next(iter(judged.values())), "mean"]
    return Table(
        f"J&F x 100 by kind of sentence, {len(world)} held-out videos of {objects:.1f} objects",
        columns,
        rows,
    )


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_model(parser)
    add_held_out(parser)
    args = parser.parse_args()
    torch.manual_seed(0)
    world = open_held_out("refvos", **held_out(args))
    predictors: dict[str, Predict] = {"an object by chance": chance_object}
    for name, predict in model_of(args).items():
        predictors |= {name: predict, f"{name}, sentences hidden": hide_sentences(predict)}
    judged = {name: measure(predict, world) for name, predict in predictors.items()}
    command = this_command("benchmarks.learning.sentences", ("--out", "--checkpoint"))
    print(write_report(args.out, [table_of(world, judged)], as_json(judged), command=command))


if __name__ == "__main__":
    main()
