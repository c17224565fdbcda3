"""The small GvSeg, which also compares objects over a whole video."""

from __future__ import annotations

from dataclasses import replace

from segblocks.data.clips import ClipRule
from segblocks.training.criteria.gvseg import GvSegCriterion
from segblocks.training.initial import InitialWeights
from segblocks.training.recipe import Recipe
from segblocks.training.recipes.small_models import (
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
_DATA = SmallData(_RULE, num_frames=_RULE.num_frames + _RULE.further)


_NANO = Recipe(
    name="gvseg_nano",
    description="the small GvSeg on stills and the synthetic world, for one large GPU",
    model="gvseg_nano",
    sources={
        "stills": _DATA.stills(COCO, 0.3, _TASKS, STILLS),
        "stills_parts": _DATA.stills(PARTS, 0.05, _HINTS, STILLS),
        "stills_people": _DATA.stills(PEOPLE, 0.05, _HINTS, STILLS),
        "composites": _DATA.composites(COCO, 0.15, _TASKS, STILLS, keep_background=True),
        "composites_parts": _DATA.composites(PARTS, 0.05, _HINTS, STILLS),
        "composites_people": _DATA.composites(PEOPLE, 0.1, _HINTS, STILLS),
        "world": _DATA.world("default", 0.15, _TASKS, WORLD),
        "world_hard": _DATA.world("hard", 0.1, _TASKS, WORLD),
        "world_twins": _DATA.world("twins", 0.05, _TASKS, WORLD),
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
    loop=LOOP,
    initial=InitialWeights(backbone="efficientnet_lite0"),
)

# Two cores see few clips, so that objects by hint, which need no classes, are most of them.
_FEW = {"vis": 0.1, "vps": 0.08, "vss": 0.02, "evs": 0.8}
_NANO_CPU = replace(
    _NANO,
    name="gvseg_nano_cpu",
    description="the small GvSeg at a quarter of the size, for two CPU cores",
    sources={
        "stills": _DATA.stills(COCO, 0.25, _FEW, CPU_STILLS),
        "stills_parts": _DATA.stills(PARTS, 0.05, _HINTS, CPU_STILLS),
        "stills_people": _DATA.stills(PEOPLE, 0.08, _HINTS, CPU_STILLS),
        "composites": _DATA.composites(COCO, 0.22, _HINTS, CPU_STILLS),
        "composites_people": _DATA.composites(PEOPLE, 0.08, _HINTS, CPU_STILLS),
        "world": _DATA.world("default", 0.2, _TASKS, CPU_WORLD),
        "world_hard": _DATA.world("hard", 0.07, _TASKS, CPU_WORLD),
        "world_twins": _DATA.world("twins", 0.05, _TASKS, CPU_WORLD),
    },
    criterion_options={**_NANO.criterion_options, "num_points": 1024, "min_area": 8},
    loop=CPU_LOOP,
    initial=CPU_INITIAL,
)

RECIPES = (_NANO, _NANO_CPU)
