"""What the parts of TarViS are worth on the synthetic world (TarViS Tables 4 and S1).

All variants have the same number of steps and clips, several seeds, and are measured on held-out
videos next to predictions that need no training. A run that was interrupted is taken up, and a
finished one is not repeated. An ablation says something only where the full model is well above
the baselines and the difference above the spread over seeds.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from benchmarks.learning.baselines import BASELINES, Predict, ask_model
from benchmarks.learning.budget import add_budget, initial_weights, loop_settings, train_to_end
from benchmarks.learning.judge import columns_of
from benchmarks.learning.runs import Ablation, Numbers, add_runs, run_folder
from benchmarks.learning.synthetic import METRICS
from benchmarks.learning.tarvis_variants import VARIANTS, Variant
from segblocks.cli.device import choose_device
from segblocks.data.clips import ClipDataset, ClipRule, ClipSource, ClipTransform
from segblocks.data.synthetic import SyntheticWorld, open_held_out, world_config
from segblocks.training.criteria import TarViSCriterion
from segblocks.training.initial import load_initial
from segblocks.training.step import TrainingStep
from segblocks.zoo.tarvis import TARVIS_NANO, TarViS

# The small model with half of its decoder's layers and queries. Its masks are not propagated, which
# would hide what the decoder has learnt.
CONFIG = replace(
    TARVIS_NANO,
    vocabularies=("synthetic",),
    decoder_layers=3,
    num_instance_queries=20,
    propagation=0.0,
)


def train_variant(variant: Variant, seed: int, out: Path, args: argparse.Namespace) -> TarViS:
    """Train one variant, or take its training up."""
    torch.manual_seed(seed)
    model = variant.make(CONFIG)
    load_initial(model, initial_weights(args))
    config = world_config(args.preset, size=tuple(args.size), num_frames=args.frames)
    source = ClipSource(
        SyntheticWorld(config, seed=1 + seed),
        ClipRule(num_frames=3, reach=6, max_objects=4, min_area=16),
        ClipTransform(),
        tasks=variant.tasks,
        length=args.steps * args.batch,
    )
    settings = loop_settings(args, seed)
    step = TrainingStep(model, TarViSCriterion(num_points=1024, semantic_points=2048))
    train_to_end(step, ClipDataset([source], seed=seed), settings, out=out, device=args.device)
    return model.eval()


def parse() -> argparse.Namespace:
    """Read the options."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_runs(parser, VARIANTS)
    add_budget(parser, relative="univs_nano")
    parser.add_argument("--preset", default="default")
    parser.add_argument("--clip", type=int, default=6, help="frames of a clip when measuring")
    parser.add_argument("--videos", type=int, default=30, help="held out")
    args = parser.parse_args()
    args.device = choose_device(args.device)
    return args


def main() -> None:
    """Train, measure, print and write."""
    args = parse()
    world = open_held_out(
        args.preset, length=args.videos, size=tuple(args.size), num_frames=args.frames
    )

    def measure(predict: Predict, tasks: Iterable[str]) -> Numbers:
        return columns_of(predict, world, {kind: METRICS[kind] for kind in tasks})

    def measure_variant(name: str, seed: int) -> Numbers:
        variant = VARIANTS[name]
        model = train_variant(variant, seed, run_folder(args, name, seed), args)
        predict = ask_model(model, clip_length=args.clip, short_side=0)
        return measure(predict, variant.tasks)

    baselines = {name: partial(measure, it, METRICS) for name, it in BASELINES.items()}
    Ablation("ablations", baselines, VARIANTS, measure_variant).run(args)


if __name__ == "__main__":
    main()
