"""The small TarViS on pictures or videos of one's own, starting from the weights that ship with it.

Whatever there is of three layouts is taken: pictures in COCO's, videos in that of YouTube-VIS, and
masks in that of DAVIS. The classes are those of the files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from segblocks.data.clips import ClipRule, ClipTransform
from segblocks.training.criteria.tarvis import TarViSCriterion
from segblocks.training.initial import InitialWeights
from segblocks.training.recipe import Recipe, RecipeSource
from segblocks.training.recipes.small_models import AS_IT_IS, CPU_LOOP
from segblocks.training.recipes.videos import DatasetVideos, StillVideos
from segblocks.training.schedule import Schedule

_SIDE = 192
_RULE = ClipRule(num_frames=3, reach=4, max_objects=6, vary_objects=True)
_CLASSES_AND_HINTS = {"vis": 0.6, "vos": 0.4}


def _videos(
    dataset: str, tasks: Mapping[str, float], options: Mapping[str, Any] | None = None
) -> RecipeSource:
    return RecipeSource(
        DatasetVideos(dataset, options=options or {}),
        _RULE,
        ClipTransform(short_sides=(_SIDE,), long_side=2 * _SIDE),
        1.0,
        tasks,
        root=dataset,
        optional=True,
    )


_PICTURES = RecipeSource(
    StillVideos(DatasetVideos("coco_instances"), size=(_SIDE, _SIDE)),
    _RULE,
    AS_IT_IS,
    1.0,
    _CLASSES_AND_HINTS,
    root="coco_instances",
    optional=True,
)

RECIPES = (
    Recipe(
        name="tarvis_nano_finetune",
        description="the small TarViS on pictures or videos of your own, with their classes",
        model="tarvis_nano",
        sources={
            "coco_instances": _PICTURES,
            "youtube_vis_2021": _videos(
                "youtube_vis_2021", _CLASSES_AND_HINTS, {"vocabulary": None}
            ),
            "davis2017": _videos("davis2017", {"vos": 1.0}),
        },
        criterion=TarViSCriterion,
        criterion_options={"num_points": 1024, "semantic_points": 2048},
        loop=replace(
            CPU_LOOP,
            steps=1000,
            learning_rate=1e-4,
            schedule=Schedule(warmup=50, cosine=True, final=0.01),
            ema=0.99,
        ),
        initial=InitialWeights(checkpoint="tarvis_nano"),
        classes_of_data=True,
    ),
)
