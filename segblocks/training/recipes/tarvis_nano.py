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
_AS_IT_IS = ClipTransform(flip=0.0, colors=None)
_RECOLORED = ClipTransform()


def _sources(still_size: tuple[int, int], world_size: tuple[int, int]) -> dict[str, RecipeSource]:
    def stills(part: StillsFolder, weight: float, tasks: dict[str, float]) -> RecipeSource:
        videos = StillVideos(part, size=still_size)
        return RecipeSource(videos, _RULE, _AS_IT_IS, weight, tasks, root="stills", optional=True)

    def world(preset: str, weight: float) -> RecipeSource:
        videos = WorldVideos(preset, size=world_size, num_frames=12)
        return RecipeSource(videos, _RULE, _RECOLORED, weight, _TASKS)

    def composites(part: StillsFolder, weight: float, tasks: dict[str, float]) -> RecipeSource:
        has_classes = part == _COCO
        videos = CompositesOfStills(part, _COCO, size=still_size, keep_background=has_classes)
        return RecipeSource(videos, _RULE, _AS_IT_IS, weight, tasks, root="stills", optional=True)

    return {
        "stills": stills(_COCO, 0.3, _TASKS),
        "stills_parts": stills(_PARTS, 0.05, _HINTS),
        "stills_people": stills(_PEOPLE, 0.05, _HINTS),
        "composites": composites(_COCO, 0.15, _TASKS),
        "composites_parts": composites(_PARTS, 0.05, _HINTS),
        "composites_people": composites(_PEOPLE, 0.1, _HINTS),
        "world": world("default", 0.2),
        "world_hard": world("hard", 0.1),
    }


_NANO = Recipe(
    name="tarvis_nano",
    description="the small TarViS on stills and the synthetic world, for one large GPU",
    model="tarvis_nano",
    sources=_sources((320, 320), (256, 416)),
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

_NANO_CPU = replace(
    _NANO,
    name="tarvis_nano_cpu",
    description="the small TarViS at a quarter of the size, for two CPU cores",
    sources=_sources((160, 160), (128, 208)),
    criterion_options={"num_points": 1024, "semantic_points": 2048},
    loop=replace(
        _NANO.loop,
        steps=8000,
        batch_size=2,
        precision="fp32",
        ema=0.999,
        save_every=100,
        workers=1,
    ),
)

RECIPES = (_NANO, _NANO_CPU)
