"""What a taxonomy is worth over datasets that name different classes (TMT-VIS, tables 3 to 12).

Three datasets of one synthetic world show all shapes and name some of them each. Every run has the
same number of steps and clips, whatever it is trained on; a run that was interrupted is taken up,
and a finished one is not repeated. All are judged on held-out videos of all three datasets: where
one was not trained on, its own classes are known by their names alone. The columns "only" count
the classes that no other dataset names, on which joint training is said to go down.

An ablation says something only where the full model is well above the baseline that needs no
training, and the difference above the spread over seeds.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from benchmarks.learning.baselines import Predict, ask_model, repeat_first
from benchmarks.learning.budget import add_budget, initial_weights, loop_settings, train_to_end
from benchmarks.learning.judge import asked
from benchmarks.learning.runs import Ablation, Numbers, add_runs, run_folder
from segblocks.cli.device import choose_device
from segblocks.data.clips import ClipDataset, ClipRule, ClipSource, ClipTransform
from segblocks.data.synthetic import SyntheticWorld, open_held_out, world_config
from segblocks.metrics import TrackAP
from segblocks.training.criteria import TMTVISCriterion
from segblocks.training.initial import load_initial
from segblocks.training.step import TrainingStep
from segblocks.zoo.tmt_vis import TMTVIS, TMTVISConfig
from segblocks.zoo.tmt_vis.nano import NANO_SHAPES, TMT_VIS_NANO

JOINT = (1.0, 1.0, 0.75)
_ENDLESS = 1_000_000
_SHAPES = tuple(dict.fromkeys(shape for own in NANO_SHAPES.values() for shape in own))


@dataclass(frozen=True)
class Variant:
    """Say what is trained, and on what.

    Args:
        ratios: how often each of the datasets is taken; 0 leaves one out.
        model: fields of the config that differ.
        criterion: weights of losses that differ.
    """

    ratios: tuple[float, float, float] = JOINT
    model: Mapping[str, Any] = field(default_factory=dict)
    criterion: Mapping[str, float] = field(default_factory=dict)


_TRAINED_ON = {
    "a": (1.0, 0.0, 0.0),
    "b": (0.0, 1.0, 0.0),
    "c": (0.0, 0.0, 1.0),
    "a + b": (1.0, 1.0, 0.0),
    "a + c": (1.0, 0.0, 0.75),
    "b + c": (0.0, 1.0, 0.75),
    "a + b + c": JOINT,
}
_NEVER = {"injection": "never"}
VARIANTS = {
    **{f"without taxonomy, {on}": Variant(r, _NEVER) for on, r in _TRAINED_ON.items()},
    **{f"TMT-VIS, {on}": Variant(ratios) for on, ratios in _TRAINED_ON.items()},
    "no taxonomy loss": Variant(criterion={"taxonomy_weight": 0.0}),
    "no presence loss": Variant(criterion={"presence_weight": 0.0}),
    # All others select 4.
    **{f"{n} selected": Variant(model={"num_selected": n}) for n in (1, 2, 8, len(_SHAPES))},
    "added": Variant(model={"aggregation": "add"}),
    "concatenated": Variant(model={"aggregation": "concatenate"}),
    "injected once": Variant(model={"injection": "once"}),
    "names without meaning": Variant(model={"text_encoder": "hash/384"}),
    "2 : 1 : 0.75": Variant((2.0, 1.0, 0.75)),
    "1 : 1 : 0.5": Variant((1.0, 1.0, 0.5)),
    "1 : 1 : 1": Variant((1.0, 1.0, 1.0)),
}


def labels_of(name: str, things: tuple[str, ...]) -> dict[str, Any]:
    """Return changes to a world that shows all shapes, and names some."""
    others = tuple(shape for shape in _SHAPES if shape not in things)
    return {"name": name, "things": things, "unlabelled_things": others}


def judged_worlds(args: argparse.Namespace) -> dict[str, SyntheticWorld]:
    """Return the held-out videos of each dataset."""
    size = {"size": tuple(args.size), "num_frames": args.frames}
    return {
        name: open_held_out(args.preset, length=args.videos, **size, **labels_of(name, own))
        for name, own in NANO_SHAPES.items()
    }


def named_by_one(dataset: str) -> tuple[str, ...]:
    """Return the shapes that this dataset names, and no other."""
    rest = {s for name, own in NANO_SHAPES.items() if name != dataset for s in own}
    return tuple(shape for shape in NANO_SHAPES[dataset] if shape not in rest)


def config_of(variant: Variant, args: argparse.Namespace) -> TMTVISConfig:
    """Return the config of a variant, half as deep as the nano model."""
    trained = zip(TMT_VIS_NANO.vocabularies, variant.ratios, strict=False)
    slim = replace(
        TMT_VIS_NANO,
        vocabularies=tuple(own for own, ratio in trained if ratio),
        text_encoder=args.text_encoder,
        num_selected=4,
        decoder_layers=3,
        num_queries=20,
    )
    return replace(slim, **variant.model)


def train_variant(variant: Variant, seed: int, out: Path, args: argparse.Namespace) -> TMTVIS:
    """Train one variant, or take its training up."""
    torch.manual_seed(seed)
    model = TMTVIS(config_of(variant, args))
    load_initial(model, initial_weights(args))
    size = {"size": tuple(args.size), "num_frames": args.frames}
    sources = [
        ClipSource(
            SyntheticWorld(
                world_config(args.preset, **size, **labels_of(name, own)), seed=1 + seed
            ),
            ClipRule(num_frames=2, reach=6, max_objects=None, min_area=16),
            ClipTransform(),
            ratio,
            tasks={"vis": 1.0},
            length=_ENDLESS,
        )
        for (name, own), ratio in zip(NANO_SHAPES.items(), variant.ratios, strict=True)
        if ratio
    ]
    settings = loop_settings(
        args,
        seed,
        # Without its loss the score has no gradient, which several processes do not take.
        frozen=() if variant.criterion.get("presence_weight", 1.0) else ("compiler.score",),
    )
    criterion = TMTVISCriterion(num_points=1024, **variant.criterion)
    dataset = ClipDataset(sources, seed=seed)
    train_to_end(TrainingStep(model, criterion), dataset, settings, out=out, device=args.device)
    return model.eval()


def numbers_of(predict: Predict, worlds: Mapping[str, SyntheticWorld]) -> Numbers:
    """Return the AP on each dataset, and on what it alone names, and the means of both."""
    found: Numbers = {}
    for name, world in worlds.items():
        metric = TrackAP()
        for sample, task in asked(world, "vis"):
            metric.update(sample, predict(sample, task))
        found[name] = metric.compute()["AP"]
        of_class = metric.per_class()
        assert world.vocabulary is not None
        only = {world.vocabulary.index(shape) for shape in named_by_one(name)} & of_class.keys()
        found[f"{name} only"] = fmean(of_class[i]["AP"] for i in only) if only else math.nan
    return found | means_of(found)


def means_of(found: Numbers) -> Numbers:
    """Return the means over datasets: of all classes, and of those that one dataset names."""
    only = [value for name, value in found.items() if name.endswith(" only")]
    every = [value for name, value in found.items() if not name.endswith(" only")]
    known = [value for value in only if not math.isnan(value)]
    return {"mean": fmean(every), "mean only": fmean(known) if known else math.nan}


def parse() -> argparse.Namespace:
    """Read the options."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_runs(parser, VARIANTS)
    add_budget(parser, relative="univs_nano")
    parser.add_argument("--text-encoder", default="minilm", help="of 384 dimensions")
    parser.add_argument("--preset", default="easy")
    parser.add_argument("--clip", type=int, default=6, help="frames of a clip when measuring")
    parser.add_argument("--videos", type=int, default=30, help="held out, of each dataset")
    args = parser.parse_args()
    args.device = choose_device(args.device)
    return args


def main() -> None:
    """Train, measure, print and write."""
    args = parse()
    worlds = judged_worlds(args)

    def measure_variant(name: str, seed: int) -> Numbers:
        model = train_variant(VARIANTS[name], seed, run_folder(args, name, seed), args)
        return numbers_of(ask_model(model, clip_length=args.clip, short_side=0), worlds)

    # It is shown the truth of the first frame, classes included.
    baselines = {"repeat first": partial(numbers_of, repeat_first, worlds)}
    Ablation("taxonomies", baselines, VARIANTS, measure_variant).run(args)


if __name__ == "__main__":
    main()
