"""TarViS on pseudo-videos of four datasets of stills (Athar et al., CVPR 2023, and its code)."""

from __future__ import annotations

from segblocks.data.clips import ClipRule, ClipTransform
from segblocks.training.criteria.tarvis import TarViSCriterion
from segblocks.training.initial import InitialWeights
from segblocks.training.recipe import Recipe, RecipeSource
from segblocks.training.recipes.variants import BACKBONES, TOTAL_BATCH, small_gpu
from segblocks.training.recipes.videos import DatasetVideos, StillVideos
from segblocks.training.schedule import Schedule
from segblocks.training.settings import LoopSettings
from segblocks.zoo.tarvis import PRETRAIN_VOCABULARIES

# VOS gives 0.3 of its objects by points: the paper's 0.28 of VOS and 0.12 of PET.
_TASKS = {"vis": 0.3, "vps": 0.3, "vos": 0.4}
_RULE = ClipRule(num_frames=3, reach=2, max_objects=8)
# Pseudo-videos come mirrored, coloured and cut out.
_AS_IT_IS = ClipTransform(flip=0.0, colors=None)

_SEMANTIC_POINTS = 25088
_CRITERION = {
    "resnet50": {"semantic_points": _SEMANTIC_POINTS},
    "swin_tiny": {"semantic_points": _SEMANTIC_POINTS},
    "swin_large": {
        "semantic_points": _SEMANTIC_POINTS,
        "semantic_weight": 0.75,
        "ignore_null_classes": True,
    },
}


def _source(
    dataset: str,
    weight: float,
    *,
    same_crop: bool = False,
    first_resize: tuple[int, int] | None = None,
) -> RecipeSource:
    videos = StillVideos(DatasetVideos(dataset), same_crop=same_crop, first_resize=first_resize)
    return RecipeSource(videos, _RULE, _AS_IT_IS, weight, _TASKS, root=dataset)


_SOURCES = {
    "coco_panoptic": _source("coco_panoptic", 0.55),
    "ade20k": _source("ade20k", 0.2),
    "cityscapes": _source("cityscapes", 0.05, same_crop=True),
    "mapillary": _source("mapillary", 0.2, same_crop=True, first_resize=(800, 1333)),
}

_PUBLISHED = [
    Recipe(
        name=f"tarvis_pretrain_{backbone}",
        description=f"TarViS, {backbone}: pretraining on stills, 500,000 steps of 32 clips",
        model=f"tarvis_{backbone}",
        model_overrides={"vocabularies": PRETRAIN_VOCABULARIES},
        sources=_SOURCES,
        criterion=TarViSCriterion,
        criterion_options=_CRITERION[backbone],
        loop=LoopSettings(
            steps=500_000,
            schedule=Schedule(milestones=(444_500, 481_500)),
            precision="fp16",
            save_every=5000,
        ),
        initial=InitialWeights(backbone="timm", tag=tag),
        total_batch=TOTAL_BATCH,
    )
    for backbone, tag in BACKBONES.items()
]

RECIPES = (*_PUBLISHED, *map(small_gpu, _PUBLISHED))
