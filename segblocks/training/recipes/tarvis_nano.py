"""The small TarViS whose weights come with the library."""

from __future__ import annotations

from dataclasses import replace

from segblocks.data.clips import ClipRule
from segblocks.training.criteria.tarvis import TarViSCriterion
from segblocks.training.initial import InitialWeights
from segblocks.training.recipe import Recipe
from segblocks.training.recipes.small_models import (
    COCO,
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

_TASKS = {"vis": 0.3, "vps": 0.25, "vos": 0.3, "pet": 0.15}
_HINTS = {"vos": 0.7, "pet": 0.3}
_RULE = ClipRule(num_frames=3, reach=4, max_objects=6, vary_objects=True, min_area=24)
_DATA = SmallData(_RULE)


_NANO = Recipe(
    name="tarvis_nano",
    description="the small TarViS on stills and the synthetic world, for one large GPU",
    model="tarvis_nano",
    sources={
        "stills": _DATA.stills(COCO, 0.3, _TASKS, STILLS),
        "stills_parts": _DATA.stills(PARTS, 0.05, _HINTS, STILLS),
        "stills_people": _DATA.stills(PEOPLE, 0.05, _HINTS, STILLS),
        "composites": _DATA.composites(COCO, 0.15, _TASKS, STILLS, keep_background=True),
        "composites_parts": _DATA.composites(PARTS, 0.05, _HINTS, STILLS),
        "composites_people": _DATA.composites(PEOPLE, 0.1, _HINTS, STILLS),
        "world": _DATA.world("default", 0.2, _TASKS, WORLD),
        "world_hard": _DATA.world("hard", 0.1, _TASKS, WORLD),
    },
    criterion=TarViSCriterion,
    criterion_options={"num_points": 4096, "semantic_points": 8192},
    loop=LOOP,
    initial=InitialWeights(backbone="efficientnet_lite0"),
)

# Two cores see few clips. Objects by hint need no classes and are learnt first; classes are learnt
# where every video shows them anew.
_FEW = {"vis": 0.1, "vps": 0.1, "vos": 0.5, "pet": 0.3}
_NANO_CPU = replace(
    _NANO,
    name="tarvis_nano_cpu",
    description="the small TarViS at a quarter of the size, for two CPU cores",
    sources={
        "stills": _DATA.stills(
            COCO, 0.25, {"vis": 0.1, "vps": 0.1, "vos": 0.5, "pet": 0.3}, CPU_STILLS
        ),
        "stills_parts": _DATA.stills(PARTS, 0.05, {"vos": 1.0}, CPU_STILLS),
        "stills_people": _DATA.stills(PEOPLE, 0.08, _HINTS, CPU_STILLS),
        "composites": _DATA.composites(COCO, 0.22, _HINTS, CPU_STILLS),
        "composites_people": _DATA.composites(PEOPLE, 0.08, _HINTS, CPU_STILLS),
        "world": _DATA.world("default", 0.22, _TASKS, CPU_WORLD),
        "world_hard": _DATA.world("hard", 0.1, _TASKS, CPU_WORLD),
    },
    criterion_options={"num_points": 1024, "semantic_points": 2048},
    loop=CPU_LOOP,
)

RECIPES = (_NANO, _NANO_CPU)
