"""The small TarViS whose weights come with the library."""

from __future__ import annotations

from dataclasses import replace

from segblocks.data.clips import ClipRule, ClipTransform
from segblocks.training.criteria.tarvis import TarViSCriterion
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

_TASKS = {"vis": 0.3, "vps": 0.25, "vos": 0.3, "pet": 0.15}
_HINTS = {"vos": 0.7, "pet": 0.3}
_RULE = ClipRule(num_frames=3, reach=4, max_objects=6, vary_objects=True, min_area=24)
_COCO, _PARTS, _PEOPLE = StillsFolder("coco"), StillsFolder("parts"), StillsFolder("people")
_LARGE, _SMALL = (320, 320), (160, 160)
_AS_IT_IS = ClipTransform(flip=0.0, colors=None)
_RECOLORED = ClipTransform()


def _stills(
    part: StillsFolder, weight: float, tasks: dict[str, float], size: tuple[int, int]
) -> RecipeSource:
    videos = StillVideos(part, size=size)
    return RecipeSource(videos, _RULE, _AS_IT_IS, weight, tasks, root="stills", optional=True)


def _composites(
    part: StillsFolder,
    weight: float,
    tasks: dict[str, float],
    size: tuple[int, int],
    *,
    keep_background: bool = False,
) -> RecipeSource:
    videos = CompositesOfStills(part, _COCO, size=size, keep_background=keep_background)
    return RecipeSource(videos, _RULE, _AS_IT_IS, weight, tasks, root="stills", optional=True)


def _world(
    preset: str, weight: float, tasks: dict[str, float], size: tuple[int, int]
) -> RecipeSource:
    videos = WorldVideos(preset, size=size, num_frames=12)
    return RecipeSource(videos, _RULE, _RECOLORED, weight, tasks)


_NANO = Recipe(
    name="tarvis_nano",
    description="the small TarViS on stills and the synthetic world, for one large GPU",
    model="tarvis_nano",
    sources={
        "stills": _stills(_COCO, 0.3, _TASKS, _LARGE),
        "stills_parts": _stills(_PARTS, 0.05, _HINTS, _LARGE),
        "stills_people": _stills(_PEOPLE, 0.05, _HINTS, _LARGE),
        "composites": _composites(_COCO, 0.15, _TASKS, _LARGE, keep_background=True),
        "composites_parts": _composites(_PARTS, 0.05, _HINTS, _LARGE),
        "composites_people": _composites(_PEOPLE, 0.1, _HINTS, _LARGE),
        "world": _world("default", 0.2, _TASKS, (256, 416)),
        "world_hard": _world("hard", 0.1, _TASKS, (256, 416)),
    },
    criterion=TarViSCriterion,
    criterion_options={"num_points": 4096, "semantic_points": 8192},
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

# Two cores see few clips. Objects by hint need no classes and are learnt first; classes are learnt
# where every video shows them anew. The layers of the backbone that cost most stay as they are.
_NANO_CPU = replace(
    _NANO,
    name="tarvis_nano_cpu",
    description="the small TarViS at a quarter of the size, for two CPU cores",
    sources={
        "stills": _stills(_COCO, 0.25, {"vis": 0.1, "vps": 0.1, "vos": 0.5, "pet": 0.3}, _SMALL),
        "stills_parts": _stills(_PARTS, 0.05, {"vos": 1.0}, _SMALL),
        "stills_people": _stills(_PEOPLE, 0.08, _HINTS, _SMALL),
        "composites": _composites(_COCO, 0.22, _HINTS, _SMALL),
        "composites_people": _composites(_PEOPLE, 0.08, _HINTS, _SMALL),
        "world": _world("default", 0.22, _TASKS, (128, 208)),
        "world_hard": _world("hard", 0.1, _TASKS, (128, 208)),
    },
    criterion_options={"num_points": 1024, "semantic_points": 2048},
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
