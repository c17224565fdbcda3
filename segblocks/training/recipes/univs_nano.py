"""The small UniVS, which also learns what sentences mean."""

from __future__ import annotations

from dataclasses import replace

from segblocks.data.clips import ClipRule
from segblocks.training.criteria.univs import UniVSCriterion
from segblocks.training.initial import InitialWeights
from segblocks.training.recipe import Recipe, RecipeSource
from segblocks.training.recipes.small_models import (
    AS_IT_IS,
    COCO,
    CPU_INITIAL,
    CPU_LOOP,
    CPU_STILLS,
    CPU_WORLD,
    LOOP,
    PARTS,
    PEOPLE,
    STILLS,
    WORLD,
    SmallData,
)
from segblocks.training.recipes.videos import WorldVideos
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
_DATA = SmallData(_RULE)


def _sources(stills: tuple[int, int], world: tuple[int, int]) -> dict[str, RecipeSource]:
    """All datasets, for frames of these sizes."""
    return {
        "stills": _DATA.stills(COCO, 0.2, _TASKS, stills),
        "stills_parts": _DATA.stills(PARTS, 0.04, _HINTS, stills),
        "stills_people": _DATA.stills(PEOPLE, 0.04, _HINTS, stills),
        "composites": _DATA.composites(COCO, 0.12, _TASKS, stills, keep_background=True),
        "composites_people": _DATA.composites(PEOPLE, 0.08, _HINTS, stills),
        "world": _DATA.world("default", 0.17, _TASKS, world),
        "world_hard": _DATA.world("hard", 0.08, _TASKS, world),
        # Sentences tell left from right, and one colour from another.
        "world_refvos": RecipeSource(
            WorldVideos("refvos", size=world, num_frames=12), _SPOKEN, AS_IT_IS, 0.27, _REFERRING
        ),
    }


_NANO = Recipe(
    name="univs_nano",
    description="the small UniVS on stills and the synthetic world, for one large GPU",
    model="univs_nano",
    sources=_sources(STILLS, WORLD),
    criterion=UniVSCriterion,
    criterion_options={"num_points": 4096},
    step=UniVSStep,
    step_options={"max_prompts": 10},
    loop=LOOP,
    initial=InitialWeights(backbone="efficientnet_lite0"),
)

_NANO_CPU = replace(
    _NANO,
    name="univs_nano_cpu",
    description="the small UniVS at a quarter of the size, for two CPU cores",
    sources=_sources(CPU_STILLS, CPU_WORLD),
    criterion_options={"num_points": 1024},
    loop=CPU_LOOP,
    initial=CPU_INITIAL,
)

RECIPES = (_NANO, _NANO_CPU)
