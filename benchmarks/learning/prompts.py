"""What prompts are worth to UniVS (UniVS, table 3), and whether it reads sentences.

Every variant has the same number of steps and clips and several seeds. Three quarters of the steps
are on clips, the rest on videos of two clips, or on clips again; variants that differ in the latter
alone share the former. A run that was interrupted is taken up, and a finished one is not repeated.

Sentences are judged by what they cannot do without, on videos in which every sentence has
distractors. Beside the full model stand one that was trained without words, the full model with all
sentences hidden, and the true masks of an object that is drawn by chance: what ignores the text
cannot be better. An ablation says something only where the full model is well above what needs no
training, and the difference above the spread over seeds.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.learning import sentences
from benchmarks.learning.baselines import Predict, ask_model, propagate_first, repeat_first
from benchmarks.learning.budget import add_budget, initial_weights, loop_settings, train_to_end
from benchmarks.learning.judge import Judged, columns_of
from benchmarks.learning.runs import Ablation, Numbers, add_runs, run_folder
from benchmarks.learning.sentences import chance_object, hide_sentences, silent
from segblocks.cli.device import choose_device
from segblocks.data.clips import ClipDataset, ClipRule, ClipSource, ClipTransform, TrainingClip
from segblocks.data.synthetic import SyntheticWorld, open_held_out, world_config
from segblocks.metrics import STQ, VPQ, JAndF, TrackAP
from segblocks.nn import DecoderContext, PromptCrossAttention, Queries
from segblocks.tasks import Task
from segblocks.tracking.entities import EntityTracker
from segblocks.training.criteria import UniVSCriterion
from segblocks.training.initial import load_initial
from segblocks.training.step import TrainingStep
from segblocks.training.univs_step import UniVSStep
from segblocks.zoo.univs import UniVS, UniVSConfig, UniVSPolicy
from segblocks.zoo.univs.nano import UNIVS_NANO
from segblocks.zoo.univs.state import UniVSState

_ENDLESS = 1_000_000
_CATEGORY_METRICS: Judged = {"vis": {TrackAP: ["AP"]}, "vps": {VPQ: ["VPQ"], STQ: ["STQ"]}}
_METRICS: Judged = {**_CATEGORY_METRICS, "vos": {JAndF: ["J&F"]}}
# The small model with half of its decoder's layers and queries. Its masks are not propagated, which
# would hide what the decoder has learnt.
CONFIG = replace(
    UNIVS_NANO,
    decoder_layers=3,
    num_queries=20,
    propagation=0.0,
)
RULE = ClipRule(num_frames=3, reach=4, max_objects=5, min_area=16, point_share=0.2, box_share=0.2)
# Two clips of five, as in the published third stage.
VIDEO = replace(RULE, num_frames=7, reach=8)
CLIP_LENGTH = 5
# At the published weights, 5 and 3, classes are ten times the loss of masks in a model so small.
CRITERION: dict[str, Any] = {"num_points": 512, "class_weight": 1.0, "matching_class_weight": 1.0}


class KeepPrompts(nn.Module):
    """Leave the queries of prompts as they begin."""

    def forward(self, queries: Queries, context: DecoderContext) -> Queries:
        """Pass them on."""
        return queries


class WithoutPromptAttention(UniVS):
    """Prompts are queries, and nothing but queries."""

    def __init__(self, config: UniVSConfig) -> None:
        super().__init__(config)
        for place, block in enumerate(self.decoder.blocks):
            if isinstance(block, PromptCrossAttention):
                self.decoder.blocks[place] = KeepPrompts()


class SimilarityTracker(EntityTracker):
    """Instances are found anew in each clip, and known by their embeddings."""

    def clip_tasks(self) -> list[Any]:
        """Ask for none of them."""
        return []


class SimilarityPolicy(UniVSPolicy):
    """Instances are tracked by similarity, without prompts of themselves."""

    def start(self, size: tuple[int, int], model_size: tuple[int, int]) -> UniVSState:
        """Begin a video."""
        state = super().start(size, model_size)
        if state.entities is not None:
            state.entities = SimilarityTracker(self.entities, num_frames=self.memory_frames)
        return state


class BySimilarity(UniVS):
    """UniVS, tracking by similarity."""

    def video_policy(self, task: Task | Sequence[Task], **settings: Any) -> UniVSPolicy:
        """Say how a video is cut into clips, and how their outputs join."""
        return SimilarityPolicy(task, norm=self.predict.norm, **settings)


class SilentStep(UniVSStep):
    """All sentences are one."""

    def forward(self, clips: Sequence[TrainingClip]) -> dict[str, torch.Tensor]:
        """Compute the losses of a batch."""
        return super().forward(
            [replace(clip, tasks=tuple(map(silent, clip.tasks))) for clip in clips]
        )


@dataclass(frozen=True)
class Variant:
    """Say what is trained, and how it is measured.

    Args:
        make: from the config.
        tasks: of the world of the preset.
        speaks: whether it is also trained and measured on sentences.
        videos: whether the last quarter of the steps is on videos.
        step: makes of model and losses what turns clips into losses.
        clips_as: the variant whose training on clips this one takes.
        trained_as: the variant whose whole training this one takes, and measures in another way.
        hidden: whether sentences are hidden when it is measured.
    """

    make: type[UniVS] = UniVS
    tasks: Mapping[str, float] = field(
        default_factory=lambda: {"vis": 0.35, "vps": 0.25, "evs": 0.4}
    )
    speaks: bool = True
    videos: bool = False
    step: type[TrainingStep] = UniVSStep
    clips_as: str | None = None
    trained_as: str | None = None
    hidden: bool = False


CATEGORIES = {"vis": 0.6, "vps": 0.4}
VARIANTS = {
    "full": Variant(videos=True),
    "sentences hidden": Variant(videos=True, trained_as="full", hidden=True),
    # Table 3b; this one is also what 3a starts from.
    "no long videos": Variant(clips_as="full"),
    "no long videos, tracked by similarity": Variant(
        BySimilarity, CATEGORIES, speaks=False, trained_as="no long videos"
    ),
    # Table 3a.
    "no attention to prompts": Variant(WithoutPromptAttention),
    "prompts are no queries": Variant(BySimilarity, CATEGORIES, speaks=False, step=TrainingStep),
    "trained without words": Variant(videos=True, step=SilentStep, hidden=True),
}


def train_variant(name: str, seed: int, args: argparse.Namespace) -> UniVS:
    """Train one variant, or take its training up."""
    variant = VARIANTS[name]
    own = variant.trained_as or name
    source = VARIANTS[own]
    torch.manual_seed(seed)
    model = source.make(CONFIG)
    load_initial(model, initial_weights(args))
    first = run_folder(args, source.clips_as or own, seed) / "clips"
    _train(model, source, seed, first, args, videos=False, last=False)
    last = run_folder(args, own, seed) / "last"
    _train(model, source, seed, last, args, videos=source.videos, last=True)
    if variant.make is not source.make:
        other = variant.make(CONFIG)
        other.load_state_dict(model.state_dict())
        other.text = model.text
        model = other.to(next(model.parameters()).device)
    return model.eval()


def _train(
    model: UniVS,
    variant: Variant,
    seed: int,
    out: Path,
    args: argparse.Namespace,
    *,
    videos: bool,
    last: bool,
) -> None:
    steps = max(args.steps // 4, 1) if last else args.steps - args.steps // 4
    settings = loop_settings(args, 2 * seed + last, steps=steps, rate=0.5 if last else 1.0)
    options = {"clip_length": CLIP_LENGTH} if videos else {}
    step = variant.step(model, UniVSCriterion(**CRITERION), **options)
    sources = list(_sources(variant, seed, args, videos=videos))
    dataset = ClipDataset(sources, seed=settings.seed)
    train_to_end(step, dataset, settings, out=out, device=args.device)


def _sources(
    variant: Variant, seed: int, args: argparse.Namespace, *, videos: bool
) -> Iterator[ClipSource]:
    size = {"size": tuple(args.size), "num_frames": args.frames}
    wanted: list[tuple[str, Mapping[str, float]]] = [(args.preset, variant.tasks)]
    if variant.speaks:
        wanted.append(("refvos", {"refvos": 1.0}))
    for preset, tasks in wanted:
        # Sentences tell left from right, and one colour from another.
        spoken = preset == "refvos"
        yield ClipSource(
            SyntheticWorld(world_config(preset, **size), seed=1 + seed),
            VIDEO if videos else RULE,
            ClipTransform(flip=0.0, colors=None) if spoken else ClipTransform(),
            tasks=tasks,
            length=_ENDLESS,
        )


def numbers_of(predict: Predict, worlds: Mapping[str, SyntheticWorld], variant: Variant) -> Numbers:
    """Return column -> number."""
    judged = _METRICS if "evs" in variant.tasks else _CATEGORY_METRICS
    found = columns_of(predict, worlds["preset"], judged)
    return found | (spoken_numbers(predict, worlds["refvos"], variant) if variant.speaks else {})


def spoken_numbers(predict: Predict, world: SyntheticWorld, variant: Variant) -> Numbers:
    """Return J&F by the kind of sentence, and their mean."""
    judged = sentences.measure(hide_sentences(predict) if variant.hidden else predict, world)
    return {f"RefVOS {kind}": number for kind, number in sentences.numbers_of(judged).items()}


def parse() -> argparse.Namespace:
    """Read the options."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_runs(parser, VARIANTS)
    add_budget(parser, relative="gvseg_nano", steps=8000)
    parser.add_argument("--preset", default="default", help="of all tasks but RefVOS")
    parser.add_argument("--videos", type=int, default=30, help="held out, of each world")
    args = parser.parse_args()
    args.device = choose_device(args.device)
    return args


def main() -> None:
    """Train, measure, print and write."""
    args = parse()
    size = {"size": tuple(args.size), "num_frames": args.frames}
    worlds = {
        scene: open_held_out(preset, length=args.videos, **size)
        for scene, preset in {"preset": args.preset, "refvos": "refvos"}.items()
    }

    def measure_variant(name: str, seed: int) -> Numbers:
        model = train_variant(name, seed, args)
        return numbers_of(ask_model(model, short_side=0), worlds, VARIANTS[name])

    # Two are shown the truth of the first frame, classes included, and the third all of it.
    mute = Variant(speaks=False)
    baselines = {
        "repeat first": partial(numbers_of, repeat_first, worlds, mute),
        "k-NN propagation": partial(numbers_of, propagate_first, worlds, mute),
        "an object by chance": partial(spoken_numbers, chance_object, worlds["refvos"], Variant()),
    }
    Ablation("prompts", baselines, VARIANTS, measure_variant).run(args)


if __name__ == "__main__":
    main()
