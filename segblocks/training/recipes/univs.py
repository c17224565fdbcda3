"""UniVS in its three stages (Li et al., CVPR 2024, and its code).

Of its data, what the library reads: LVIS, EntitySeg, RefCOCO and SA-1B are left out.
"""

from __future__ import annotations

from dataclasses import replace

from segblocks.data.clips import ClipRule, ClipTransform
from segblocks.training.criteria.univs import UniVSCriterion
from segblocks.training.initial import InitialWeights
from segblocks.training.recipe import Recipe, RecipeSource
from segblocks.training.recipes.variants import small_gpu
from segblocks.training.recipes.videos import DatasetVideos, StillVideos
from segblocks.training.schedule import Schedule
from segblocks.training.settings import LoopSettings
from segblocks.training.univs_step import UniVSStep
from segblocks.zoo.univs import start_from

BACKBONES = ("resnet50", "swin_tiny", "swin_base", "swin_large")

_RATE, _LONG_RATE = 5e-5, 2.5e-5
_BATCHES = {1: 48, 2: 8, 3: 4}
_SIDES = tuple(range(512, 801, 32))
_CLIP, _VIDEO = 5, 7
_REID = {"resnet50": 0.5}
_SWIN_REID = 0.25
_AS_IT_IS = ClipTransform(flip=0.0, colors=None)
_LOOK = ClipTransform(short_sides=_SIDES, long_side=1333, colors=None)


def _rule(num_frames: int, reach: int) -> ClipRule:
    return ClipRule(
        num_frames=num_frames,
        reach=max(reach, num_frames - 1),
        max_objects=20,
        point_share=0.25,
        box_share=0.25,
    )


def _video(dataset: str, weight: float, task: str, frames: int, reach: int) -> RecipeSource:
    rule, videos = _rule(frames, reach), DatasetVideos(dataset)
    # Sentences tell left from right; the official code changes the words of a mirrored clip.
    look = replace(_LOOK, flip=0.0) if task == "refvos" else _LOOK
    return RecipeSource(videos, rule, look, weight, {task: 1.0}, root=dataset)


def _stills(weight: float, frames: int, size: int) -> RecipeSource:
    """Pictures of COCO, of which the official code makes clips too."""
    videos = StillVideos(
        DatasetVideos("coco_panoptic"),
        size=(size, size),
        num_frames=frames,
        scale=(0.5, 2.0),
        angle=15.0,
        shear=0.0,
    )
    rule = _rule(frames, 2 * frames)
    return RecipeSource(videos, rule, _AS_IT_IS, weight, {"vps": 1.0}, root="coco_panoptic")


def _videos(frames: int, referring: float) -> dict[str, RecipeSource]:
    """The data of the second and the third stage."""
    return {
        "ovis": _video("ovis", 0.35, "vis", frames, 2 * frames),
        "youtube_vis_2021": _video("youtube_vis_2021", 0.25, "vis", frames, 40),
        "vipseg": _video("vipseg", 0.5, "vps", frames, 40),
        "coco_panoptic": _stills(0.25, frames, 640),
        "ref_youtube_vos": _video("ref_youtube_vos", referring, "refvos", frames, 20),
        "youtube_vos_2018": _video("youtube_vos_2018", 0.25, "evs", frames, 20),
        "mose": _video("mose", 0.15, "evs", frames, 20),
        "burst": _video("burst", 0.15, "evs", frames, 20),
    }


def _loop(steps: int, drop: int, rate: float, **more: object) -> LoopSettings:
    return LoopSettings(
        steps=steps,
        learning_rate=rate,
        schedule=Schedule(milestones=(drop,)),
        precision="fp16",
        chunk=1,
        **more,  # type: ignore[arg-type]
    )


def _recipe(stage: int, backbone: str, description: str, **fields: object) -> Recipe:
    reid = _REID.get(backbone, _SWIN_REID) * (0.5 if stage == 3 else 1.0)
    return Recipe(
        name=f"univs_stage{stage}_{backbone}",
        description=f"UniVS, {backbone}, stage {stage}: {description}",
        model=f"univs_{backbone}",
        criterion=UniVSCriterion,
        criterion_options={"reid_weight": reid, "between_clips_weight": reid},
        step=UniVSStep,
        total_batch=_BATCHES[stage],
        **fields,  # type: ignore[arg-type]
    )


def _stages(backbone: str) -> tuple[Recipe, ...]:
    drop = 324_000 if backbone == "swin_tiny" else 342_000
    frames = 3 if backbone == "resnet50" else _CLIP
    pictures = _recipe(
        1,
        backbone,
        "pictures, from a Mask2Former",
        sources={"coco_panoptic": _stills(1.0, 1, 1024)},
        step_options={"max_prompts": 30},
        loop=_loop(354_000, drop, _RATE, batch_size=3),
        initial=InitialWeights(required=True, start=start_from),
    )
    clips = _recipe(
        2,
        backbone,
        f"clips of {frames} frames",
        sources=_videos(frames, 0.35),
        loop=_loop(354_000, 342_000 if frames == 3 else 324_000, _RATE, frozen=("backbone",)),
        initial=InitialWeights(required=True),
    )
    videos = _recipe(
        3,
        backbone,
        f"videos of {_VIDEO} frames, two clips each",
        sources=_videos(_VIDEO, 0.5),
        step_options={"clip_length": _CLIP},
        # The official code trains the neck as well; the paper does not.
        loop=_loop(89_000, 81_000, _LONG_RATE, frozen=("backbone", "neck"), ema=0.9999),
        initial=InitialWeights(required=True),
    )
    return pictures, clips, videos


_PUBLISHED = [recipe for backbone in BACKBONES for recipe in _stages(backbone)]

RECIPES = (*_PUBLISHED, *map(small_gpu, _PUBLISHED))
