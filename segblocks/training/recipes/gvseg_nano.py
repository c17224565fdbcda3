"""The small GvSeg whose weights come with the library."""

from __future__ import annotations

from dataclasses import replace

from segblocks.data.clips import ClipRule, ClipTransform
from segblocks.training.criteria.gvseg import GvSegCriterion
from segblocks.training.initial import InitialWeights
from segblocks.training.recipe import Recipe, RecipeSource
from segblocks.training.recipes.videos import (
    CompositesOfStills,
    StillsFolder,
    StillVideos,
    WorldVideos,
)
from segblocks.training.schedule import Schedule
from segblocks.training.settings import LoopSettings
from segblocks.zoo.gvseg import GVSEG_NANO

_TASKS = {"vis": 0.3, "vps": 0.2, "vss": 0.1, "evs": 0.4}
# Masks, points and boxes.
_HINTS = {"evs": 1.0}
# One frame from anywhere else in the video, to compare objects with.
_RULE = ClipRule(
    num_frames=3,
    reach=4,
    max_objects=6,
    vary_objects=True,
    min_area=24,
    point_share=0.3,
    box_share=0.2,
    further=1,
)
_NUM_FRAMES = _RULE.num_frames + _RULE.further
_COCO, _PARTS, _PEOPLE = StillsFolder("coco"), StillsFolder("parts"), StillsFolder("people")
_LARGE, _SMALL = (320, 320), (160, 160)
_AS_IT_IS = ClipTransform(flip=0.0, colors=None)
_RECOLORED = ClipTransform()


def _stills(
    part: StillsFolder, weight: float, tasks: dict[str, float], size: tuple[int, int]
) -> RecipeSource:
    videos = StillVideos(part, size=size, num_frames=_NUM_FRAMES)
    return RecipeSource(videos, _RULE, _AS_IT_IS, weight, tasks, root="stills", optional=True)


def _composites(
    part: StillsFolder,
    weight: float,
    tasks: dict[str, float],
    size: tuple[int, int],
    *,
    keep_background: bool = False,
) -> RecipeSource:
    videos = CompositesOfStills(
        part, _COCO, size=size, num_frames=_NUM_FRAMES, keep_background=keep_background
    )
    return RecipeSource(videos, _RULE, _AS_IT_IS, weight, tasks, root="stills", optional=True)


def _world(
    preset: str, weight: float, tasks: dict[str, float], size: tuple[int, int]
) -> RecipeSource:
    videos = WorldVideos(preset, size=size, num_frames=12)
    return RecipeSource(videos, _RULE, _RECOLORED, weight, tasks)


_NANO = Recipe(
    name="gvseg_nano",
    description="the small GvSeg on stills and the synthetic world, for one large GPU",
    model="gvseg_nano",
    sources={
        "stills": _stills(_COCO, 0.3, _TASKS, _LARGE),
        "stills_parts": _stills(_PARTS, 0.05, _HINTS, _LARGE),
        "stills_people": _stills(_PEOPLE, 0.05, _HINTS, _LARGE),
        "composites": _composites(_COCO, 0.15, _TASKS, _LARGE, keep_background=True),
        "composites_parts": _composites(_PARTS, 0.05, _HINTS, _LARGE),
        "composites_people": _composites(_PEOPLE, 0.1, _HINTS, _LARGE),
        "world": _world("default", 0.15, _TASKS, (256, 416)),
        "world_hard": _world("hard", 0.1, _TASKS, (256, 416)),
        "world_twins": _world("twins", 0.05, _TASKS, (256, 416)),
    },
    criterion=GvSegCriterion,
    criterion_options={
        "vocabulary": GVSEG_NANO.vocabulary,
        "embed_dim": GVSEG_NANO.embed_dim,
        "num_points": 4096,
        "min_area": 16,
        # Masks of a few cells of stride 4 change by more than the paper's 0.2 from frame to frame.
        "max_change": 0.5,
        "reach": 3,
    },
    loop=LoopSettings(
        steps=12_000,
        batch_size=16,
        learning_rate=4e-4,
        backbone_factor=0.25,
        clip_norm=0.1,
        schedule=Schedule(warmup=500, cosine=True, final=0.01),
        precision="bf16",
        ema=0.9995,
        save_every=250,
        workers=14,
        chunk=1,
    ),
    initial=InitialWeights(backbone="efficientnet_lite0"),
)

# Two cores see few clips, so that objects by hint, which need no classes, are most of them.
_FEW = {"vis": 0.1, "vps": 0.08, "vss": 0.02, "evs": 0.8}
_NANO_CPU = replace(
    _NANO,
    name="gvseg_nano_cpu",
    description="the small GvSeg at a quarter of the size, for two CPU cores",
    sources={
        "stills": _stills(_COCO, 0.25, _FEW, _SMALL),
        "stills_parts": _stills(_PARTS, 0.05, _HINTS, _SMALL),
        "stills_people": _stills(_PEOPLE, 0.08, _HINTS, _SMALL),
        "composites": _composites(_COCO, 0.22, _HINTS, _SMALL),
        "composites_people": _composites(_PEOPLE, 0.08, _HINTS, _SMALL),
        "world": _world("default", 0.2, _TASKS, (128, 208)),
        "world_hard": _world("hard", 0.07, _TASKS, (128, 208)),
        "world_twins": _world("twins", 0.05, _TASKS, (128, 208)),
    },
    criterion_options={**_NANO.criterion_options, "num_points": 1024, "min_area": 8},
    loop=replace(
        _NANO.loop,
        steps=8000,
        batch_size=2,
        learning_rate=5e-4,
        schedule=Schedule(warmup=300, cosine=True, final=0.01),
        precision="fp32",
        ema=0.998,
        frozen=tuple(f"backbone.net.{part}" for part in ("conv_stem", "blocks.0", "blocks.1")),
        save_every=200,
        workers=1,
    ),
)

RECIPES = (_NANO, _NANO_CPU)
