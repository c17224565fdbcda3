"""Mask2Former-VIS on YouTube-VIS (Cheng et al., 2021, and its code)."""

from __future__ import annotations

from segblocks.data.clips import ClipRule, ClipTransform
from segblocks.training.criteria.mask2former_vis import Mask2FormerVISCriterion
from segblocks.training.initial import InitialWeights
from segblocks.training.recipe import Recipe, RecipeSource
from segblocks.training.recipes.variants import BACKBONES, small_gpu
from segblocks.training.recipes.videos import DatasetVideos
from segblocks.training.schedule import Schedule
from segblocks.training.settings import LoopSettings

TOTAL_BATCH = 16
# A frame and another within 20 on either side; the official code fails on videos of one frame.
CLIP_RULE = ClipRule(num_frames=2, reach=20, max_objects=None)
TRANSFORM = ClipTransform(short_sides=(360, 480), long_side=1333, colors=None)
TAGS = {**BACKBONES, "swin_base": "ms_in22k"}

# Dataset -> steps, and the step at which the learning rate drops.
_SCHEDULES = {"youtube_vis_2019": (6000, 4000), "youtube_vis_2021": (8000, 5500)}


def vis_source(dataset: str, weight: float = 1.0) -> RecipeSource:
    """Return clips of a dataset for VIS, as Mask2Former-VIS takes them.

    Args:
        dataset: a name of ``list_datasets``, also under ``--data``.
        weight: relative to the other datasets.
    """
    videos = DatasetVideos(dataset)
    return RecipeSource(videos, CLIP_RULE, TRANSFORM, weight, {"vis": 1.0}, root=dataset)


def loop(steps: int, drop: int) -> LoopSettings:
    """Return the official loop, for 8 GPUs.

    Args:
        steps: of 16 clips.
        drop: the step after which the learning rate is a tenth.
    """
    schedule = Schedule(milestones=(drop,))
    return LoopSettings(steps=steps, batch_size=2, schedule=schedule, precision="fp16", chunk=1)


_PUBLISHED = [
    Recipe(
        name=f"mask2former_vis_{dataset}_{backbone}",
        description=f"Mask2Former-VIS, {backbone}, on {dataset}: {steps:,} steps of 16 clips",
        model=f"mask2former_vis_{backbone}",
        model_overrides={"vocabulary": dataset},
        sources={dataset: vis_source(dataset)},
        criterion=Mask2FormerVISCriterion,
        loop=loop(steps, drop),
        initial=InitialWeights(backbone="timm", tag=tag),
        total_batch=TOTAL_BATCH,
    )
    for dataset, (steps, drop) in _SCHEDULES.items()
    for backbone, tag in TAGS.items()
]

RECIPES = (*_PUBLISHED, *map(small_gpu, _PUBLISHED))
