"""The small UniVS, which also learns what sentences mean."""

from __future__ import annotations

from dataclasses import replace

from segblocks.data.clips import ClipRule, ClipTransform
from segblocks.training.criteria.univs import UniVSCriterion
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
from segblocks.training.univs_step import UniVSStep

_RULE = ClipRule(
    num_frames=3, reach=4, max_objects=6, vary_objects=True, min_area=24, point_share=0.3,
    box_share=0.2,
)  # fmt: skip
# All frames of a motion that a sentence may speak of, and every thing that it may be told from.
_SPOKEN = replace(_RULE, num_frames=5, reach=8, vary_objects=False)
_TASKS = {"vis": 0.3, "vps": 0.25, "evs": 0.45}
_HINTS = {"evs": 1.0}
_REFERRING = {"refvos": 0.8, "vis": 0.1, "evs": 0.1}
_COCO, _PARTS, _PEOPLE = StillsFolder("coco"), StillsFolder("parts"), StillsFolder("people")
_AS_IT_IS = ClipTransform(flip=0.0, colors=None)
# Sentences tell left from right, and one colour from another.
_WORLD_LOOKS = {"refvos": _AS_IT_IS}


def _stills(
    part: StillsFolder, weight: float, tasks: dict[str, float], size: tuple[int, int]
) -> RecipeSource:
    videos = StillVideos(part, size=size)
    return RecipeSource(videos, _RULE, _AS_IT_IS, weight, tasks, root="stills", optional=True)


def _composites(
    part: StillsFolder, weight: float, tasks: dict[str, float], size: tuple[int, int]
) -> RecipeSource:
    videos = CompositesOfStills(part, _COCO, size=size, keep_background=tasks is _TASKS)
    return RecipeSource(videos, _RULE, _AS_IT_IS, weight, tasks, root="stills", optional=True)


def _world(
    preset: str, weight: float, tasks: dict[str, float], size: tuple[int, int]
) -> RecipeSource:
    videos = WorldVideos(preset, size=size, num_frames=12)
    rule = _SPOKEN if preset == "refvos" else _RULE
    look = _WORLD_LOOKS.get(preset, ClipTransform())
    return RecipeSource(videos, rule, look, weight, tasks)


def _sources(stills: tuple[int, int], world: tuple[int, int]) -> dict[str, RecipeSource]:
    """All datasets, for frames of these sizes."""
    return {
        "stills": _stills(_COCO, 0.2, _TASKS, stills),
        "stills_parts": _stills(_PARTS, 0.04, _HINTS, stills),
        "stills_people": _stills(_PEOPLE, 0.04, _HINTS, stills),
        "composites": _composites(_COCO, 0.12, _TASKS, stills),
        "composites_people": _composites(_PEOPLE, 0.08, _HINTS, stills),
        "world": _world("default", 0.17, _TASKS, world),
        "world_hard": _world("hard", 0.08, _TASKS, world),
        "world_refvos": _world("refvos", 0.27, _REFERRING, world),
    }


_NANO = Recipe(
    name="univs_nano",
    description="the small UniVS on stills and the synthetic world, for one large GPU",
    model="univs_nano",
    sources=_sources((320, 320), (256, 416)),
    criterion=UniVSCriterion,
    criterion_options={"num_points": 4096},
    step=UniVSStep,
    step_options={"max_prompts": 10},
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
    name="univs_nano_cpu",
    description="the small UniVS at a quarter of the size, for two CPU cores",
    sources=_sources((160, 160), (128, 208)),
    criterion_options={"num_points": 1024},
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
