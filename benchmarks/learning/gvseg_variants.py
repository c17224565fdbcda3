"""GvSeg with parts changed: how variants are trained on a scene, and measured on it."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.learning.baselines import Predict, ask_model
from benchmarks.learning.budget import add_budget, initial_weights, loop_settings, train_to_end
from benchmarks.learning.judge import Judged, columns_of
from benchmarks.learning.runs import Ablation, Numbers, add_runs, run_folder
from segblocks.cli.device import choose_device
from segblocks.data.clips import ClipDataset, ClipRule, ClipSource, ClipTransform
from segblocks.data.synthetic import SyntheticWorld, open_held_out, world_config
from segblocks.training.criteria import GvSegCriterion
from segblocks.training.initial import load_initial
from segblocks.training.step import TrainingStep
from segblocks.zoo.gvseg import GVSEG_NANO, GvSeg

_ENDLESS = 1_000_000
# The small model with half of its decoder's layers and queries.
CONFIG = replace(
    GVSEG_NANO,
    vocabulary="synthetic",
    things=None,
    decoder_layers=3,
    num_queries=20,
)
RULE = ClipRule(num_frames=3, reach=4, max_objects=4, min_area=16, box_share=0.2, further=1)
# Objects are so small, and move so far, that tau 0.2 of the paper leaves no positive but those of
# neighbouring frames.
CRITERION = {"num_points": 1024, "min_area": 8, "max_change": 0.5}


@dataclass(frozen=True)
class Variant:
    """Say what is trained, and how queries are matched when it is measured.

    Args:
        model: fields of the config that differ.
        criterion: options that differ.
        policy: settings of :class:`~segblocks.zoo.gvseg.GvSegPolicy`.
        rule: which frames a clip takes.
        make: from the config.
        trained_as: the variant whose training this one takes, and measures in another way.
    """

    model: Mapping[str, Any] = field(default_factory=dict)
    criterion: Mapping[str, Any] = field(default_factory=dict)
    policy: Mapping[str, Any] = field(default_factory=dict)
    rule: ClipRule = RULE
    make: type[GvSeg] = GvSeg
    trained_as: str | None = None


@dataclass(frozen=True)
class Scene:
    """Say what variants see and what they are asked there.

    Args:
        preset: of the synthetic world.
        tasks: what they are trained for, and how often.
        judged: what is shown of which task.
        baselines: task -> name -> what needs no training.
    """

    preset: str
    tasks: Mapping[str, float]
    judged: Judged
    baselines: Mapping[str, Mapping[str, Predict]]


def train_variant(
    variant: Variant, scene: Scene, seed: int, out: Path, args: argparse.Namespace
) -> GvSeg:
    """Train one variant, or take its training up."""
    torch.manual_seed(seed)
    model = variant.make(replace(CONFIG, **variant.model))
    load_initial(model, initial_weights(args))
    config = world_config(scene.preset, size=tuple(args.size), num_frames=args.frames)
    source = ClipSource(
        SyntheticWorld(config, seed=1 + seed),
        variant.rule,
        ClipTransform(),
        tasks=scene.tasks,
        length=_ENDLESS,
    )
    settings = loop_settings(args, seed)
    options: dict[str, Any] = {**CRITERION, **variant.criterion}
    criterion = GvSegCriterion(vocabulary="synthetic", embed_dim=CONFIG.embed_dim, **options)
    criterion.object_contrast.descriptor = model.descriptor
    dataset = ClipDataset([source], seed=seed)
    train_to_end(TrainingStep(model, criterion), dataset, settings, out=out, device=args.device)
    return model.eval()


def compare(
    name: str, description: str | None, scene: Scene, variants: Mapping[str, Variant]
) -> None:
    """Read the command line, train, measure, print and write.

    Args:
        name: of the module, and of the report.
        description: for ``--help``.
        scene: what all variants see.
        variants: by name.
    """
    parser = argparse.ArgumentParser(description=description)
    add_runs(parser, variants)
    add_budget(parser, relative="univs_nano")
    parser.add_argument("--videos", type=int, default=30, help="held out")
    args = parser.parse_args()
    args.device = choose_device(args.device)
    size = {"size": tuple(args.size), "num_frames": args.frames}
    world = open_held_out(scene.preset, length=args.videos, **size)

    def measure_variant(name: str, seed: int) -> Numbers:
        variant = variants[name]
        folder = run_folder(args, variant.trained_as or name, seed)
        model = train_variant(variant, scene, seed, folder, args)
        predict = ask_model(model, short_side=0, **variant.policy)
        return columns_of(predict, world, scene.judged)

    def measure_baseline(name: str) -> Numbers:
        found: Numbers = {}
        for task, by_name in scene.baselines.items():
            if name in by_name:
                found |= columns_of(by_name[name], world, {task: scene.judged[task]})
        return found

    names = dict.fromkeys(name for by_name in scene.baselines.values() for name in by_name)
    baselines = {name: partial(measure_baseline, name) for name in names}
    Ablation(name, baselines, variants, measure_variant).run(args)
