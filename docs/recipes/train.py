"""Train a model of this folder on the synthetic world, and judge it on held-out videos.

    python -m docs.recipes.train text_prompted_tarvis --out runs/text_prompted_tarvis

What a model shares with a small model of the zoo begins as that has learnt it; backbone and neck
stay so. The same command goes on after an interruption.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.learning import sentences, synthetic
from benchmarks.learning.baselines import Predict, ask_model, propagate_first, repeat_first
from benchmarks.learning.budget import train_to_end
from benchmarks.learning.report import Table, this_command, write_report
from docs.recipes.text_prompted_tarvis import TextTarViS
from docs.recipes.univs_with_shapes import UniVSWithShapes
from segblocks.data.clips import ClipDataset, ClipRule, ClipSource, ClipTransform
from segblocks.data.synthetic import SyntheticWorld, open_held_out, world_config
from segblocks.training import LoopSettings, Schedule, TrainingStep
from segblocks.training.criteria import TarViSCriterion, UniVSCriterion
from segblocks.training.initial import InitialWeights, load_initial
from segblocks.training.univs_step import UniVSStep
from segblocks.zoo.registry import get_entry
from segblocks.zoo.univs import UniVS

RULE = ClipRule(num_frames=4, reach=8, max_objects=6, min_area=16)
# Sentences tell left from right, and one colour from another.
AS_IT_IS = ClipTransform(flip=0.0, colors=None)


def read_sentences(predict: Predict, world: SyntheticWorld) -> Table:
    """J&F by kind of sentence, beside what ignores the text."""
    predictors = {
        "an object by chance": sentences.chance_object,
        "the model": predict,
        "sentences hidden": sentences.hide_sentences(predict),
    }
    found = {name: sentences.measure(what, world) for name, what in predictors.items()}
    return sentences.table_of(world, found)


def follow_objects(predict: Predict, world: SyntheticWorld) -> Table:
    """J&F of objects by their first mask, beside what needs no training."""
    predictors = {
        "repeat first": repeat_first,
        "k-NN propagation": propagate_first,
        "the model": predict,
    }
    return synthetic.table_of("held-out videos", synthetic.measure(predictors, world, ["vos"]))


@dataclass(frozen=True)
class Recipe:
    """Say what is trained on what, and what is asked of it afterwards."""

    make: Callable[[], nn.Module]
    relative: str
    step: Callable[[nn.Module], TrainingStep]
    preset: str
    tasks: Mapping[str, float]
    transform: ClipTransform
    judge: Callable[[Predict, SyntheticWorld], Table]


def univs_recipe(make: type[UniVS]) -> Recipe:
    """A UniVS that follows objects among near twins."""
    return Recipe(
        lambda: make(get_entry("univs_nano").config),
        "gvseg_nano",
        lambda model: UniVSStep(model, UniVSCriterion(num_points=512)),
        "twins",
        {"evs": 1.0},
        ClipTransform(),
        follow_objects,
    )


RECIPES = {
    "text_prompted_tarvis": Recipe(
        lambda: TextTarViS(get_entry("tarvis_nano").config),
        "tarvis_nano",
        lambda model: TrainingStep(model, TarViSCriterion(num_points=512)),
        "refvos",
        {"refvos": 1.0},
        AS_IT_IS,
        read_sentences,
    ),
    "univs_with_shapes": univs_recipe(UniVSWithShapes),
    "univs": univs_recipe(UniVS),  # to compare with
}


def main() -> None:
    """Train, judge, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe", choices=RECIPES)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--videos", type=int, default=20, help="held out")
    parser.add_argument("--size", type=int, nargs=2, default=(96, 160), metavar=("H", "W"))
    args = parser.parse_args()
    torch.manual_seed(0)
    recipe = RECIPES[args.recipe]
    model = recipe.make()
    load_initial(model, InitialWeights(relative=recipe.relative))
    size: dict[str, Any] = {"size": tuple(args.size), "num_frames": 12}
    world = SyntheticWorld(world_config(recipe.preset, **size), seed=1)
    source = ClipSource(world, RULE, recipe.transform, tasks=recipe.tasks, length=1_000_000)
    settings = LoopSettings(
        steps=args.steps,
        batch_size=args.batch,
        learning_rate=5e-4,
        clip_norm=0.1,
        schedule=Schedule(warmup=args.steps // 20, cosine=True),
        save_every=100,
        frozen=("backbone", "neck"),
        chunk=1,
    )
    train_to_end(recipe.step(model), ClipDataset([source]), settings, out=args.out)
    held_out = open_held_out(recipe.preset, length=args.videos, **size)
    table = recipe.judge(ask_model(model.eval(), short_side=0), held_out)
    command = this_command("docs.recipes.train", ("--out",))
    print(write_report(args.out / "judged", [table], {}, command=command))


if __name__ == "__main__":
    main()
