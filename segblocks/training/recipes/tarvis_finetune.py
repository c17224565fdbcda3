"""TarViS on seven datasets of videos (Athar et al., CVPR 2023, and its code)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from segblocks.data.clips import ClipRule, ClipTransform
from segblocks.data.color_jitter import RandomColors
from segblocks.training.criteria.tarvis import TarViSCriterion
from segblocks.training.initial import InitialWeights
from segblocks.training.recipe import Recipe, RecipeSource
from segblocks.training.recipes.variants import BACKBONES, TOTAL_BATCH, small_gpu
from segblocks.training.recipes.videos import DatasetVideos
from segblocks.training.schedule import Schedule
from segblocks.training.settings import LoopSettings

_SEMANTIC_POINTS = 50176
_CRITERION = {
    "resnet50": {"semantic_points": _SEMANTIC_POINTS},
    "swin_tiny": {"semantic_points": _SEMANTIC_POINTS},
    "swin_large": {
        "semantic_points": _SEMANTIC_POINTS,
        "semantic_weight": 1.0,
        "regularization": 1e-3,
    },
}

# The street scenes have the classes of Cityscapes; all other classes begin at random.
_ROWS_FROM = {"kitti_step": ("cityscapes",), "cityscapes_vps": ("cityscapes",)}

_PANOPTIC_COLORS = RandomColors(hue=10 / 255, saturation=10 / 255, brightness=20 / 255)


def _vis(dataset: str, weight: float, short_sides: tuple[int, ...]) -> RecipeSource:
    transform = ClipTransform(short_sides=short_sides, long_side=1024, crop=(0.75, 0.75))
    videos = DatasetVideos(dataset)
    return RecipeSource(videos, ClipRule(), transform, weight, {"vis": 1.0}, root=dataset)


def _vps(
    dataset: str, weight: float, rule: ClipRule, short_side: int, crop: tuple[float, float]
) -> RecipeSource:
    transform = ClipTransform(short_sides=(short_side,), crop=crop, colors=_PANOPTIC_COLORS)
    videos = DatasetVideos(dataset)
    return RecipeSource(videos, rule, transform, weight, {"vps": 1.0}, root=dataset)


def _vos(
    dataset: str, weight: float, rule: ClipRule, options: Mapping[str, Any] | None = None
) -> RecipeSource:
    transform = ClipTransform(short_sides=(512,), crop=(0.75, 0.75))
    videos = DatasetVideos(dataset, options=options or {})
    return RecipeSource(videos, rule, transform, weight, {"vos": 1.0}, root=dataset)


_SOURCES = {
    "youtube_vis_2021": _vis("youtube_vis_2021", 0.225, (448, 512)),
    "ovis": _vis("ovis", 0.225, (512,)),
    "kitti_step": _vps("kitti_step", 0.075, ClipRule(reach=6), 320, (0.75, 0.5)),
    "cityscapes_vps": _vps("cityscapes_vps", 0.075, ClipRule(order="consecutive"), 448, (0.5, 0.5)),
    "vipseg": _vps("vipseg", 0.15, ClipRule(reach=15), 512, (0.75, 0.5)),
    "burst": _vos(
        "burst", 0.2, ClipRule(reach=9, min_area=100, vary_objects=True), {"frames": "annotated"}
    ),
    "davis2017": _vos("davis2017", 0.05, ClipRule(vary_objects=True)),
}

_PUBLISHED = [
    Recipe(
        name=f"tarvis_finetune_{backbone}",
        description=f"TarViS, {backbone}: finetuning on videos, 90,000 steps of 32 clips",
        model=f"tarvis_{backbone}",
        sources=_SOURCES,
        criterion=TarViSCriterion,
        criterion_options=_CRITERION[backbone],
        loop=LoopSettings(
            steps=90_000,
            schedule=Schedule(warmup=10_000, milestones=(50_000, 84_000)),
            precision="fp16",
        ),
        initial=InitialWeights(backbone="timm", tag=tag, required=True, rows_from=_ROWS_FROM),
        total_batch=TOTAL_BATCH,
    )
    for backbone, tag in BACKBONES.items()
]

RECIPES = (*_PUBLISHED, *map(small_gpu, _PUBLISHED))
