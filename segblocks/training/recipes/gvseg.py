"""GvSeg, a model a task and dataset (Chen et al., ECCV 2024)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segblocks.data.clips import ClipRule, ClipTransform
from segblocks.data.dataset import VideoDataset
from segblocks.data.indexed import IndexedVideos
from segblocks.text.vocabulary import get_vocabulary
from segblocks.training.criteria.gvseg import GvSegCriterion
from segblocks.training.initial import InitialWeights
from segblocks.training.recipe import Recipe, RecipeSource
from segblocks.training.recipes.mask2former_vis import TAGS, TOTAL_BATCH
from segblocks.training.recipes.stills import StillsPart
from segblocks.training.recipes.variants import small_gpu
from segblocks.training.recipes.videos import DatasetVideos, StillVideos
from segblocks.training.schedule import Schedule
from segblocks.training.settings import LoopSettings
from segblocks.zoo.gvseg import start_from

BACKBONES = ("resnet50", "swin_base", "swin_large")

# Three frames a clip, and two from anywhere in the video for what objects look like there.
_CLIP, _FURTHER = 3, 2
_DENSE, _SPARSE = 5, 20


@dataclass(frozen=True)
class _Published:
    """What the paper says of a dataset, and how far apart the frames of a clip are (ours).

    Args:
        task: that it is for.
        steps: of 16 clips.
        drop: the step after which the learning rate is a tenth.
        reach: in annotated frames.
        stills: whether pseudo-videos of COCO are trained on as well, in small frames.
    """

    task: str
    steps: int
    drop: int
    reach: int
    stills: bool = False


_DATASETS = {
    "ovis": _Published("vis", 10_000, 7000, _SPARSE),
    "youtube_vis_2019": _Published("vis", 15_000, 11_000, _SPARSE, stills=True),
    "youtube_vis_2021": _Published("vis", 15_000, 11_000, _SPARSE, stills=True),
    "vspw": _Published("vss", 10_000, 7000, _DENSE),
    "vipseg": _Published("vps", 10_000, 7000, _DENSE),
    "kitti_step": _Published("vps", 10_000, 7000, _DENSE),
    "youtube_vos_2018": _Published("evs", 15_000, 11_000, _SPARSE, stills=True),
}


@dataclass(frozen=True)
class RenamedStills:
    """Open COCO's pictures with the objects that have a class in another vocabulary.

    Args:
        vocabulary: its name; None keeps all objects, without classes, for hints.
        split: of COCO.
    """

    vocabulary: str | None = None
    split: str = "train"

    def __call__(self, root: Path | None) -> VideoDataset:
        """Open the pictures in a folder."""
        stills = DatasetVideos("coco_panoptic", self.split)(root)
        assert isinstance(stills, IndexedVideos)
        known = None if self.vocabulary is None else get_vocabulary(self.vocabulary)
        return StillsPart(stills, tuple(range(len(stills))), known, "coco_panoptic")


def _rule(reach: int) -> ClipRule:
    return ClipRule(
        num_frames=_CLIP, reach=reach, max_objects=None, point_share=0.5, further=_FURTHER
    )


def _sources(dataset: str, backbone: str) -> dict[str, RecipeSource]:
    published = _DATASETS[dataset]
    asked = {published.task: 1.0}
    if not published.stills:
        sides, longest, crop = tuple(range(480, 801, 32)), 1333, None
    elif backbone == "resnet50":
        sides, longest, crop = tuple(range(240, 481, 40)), 768, (0.75, 0.75)
    else:
        sides, longest, crop = tuple(range(360, 601, 40)), 1024, (0.75, 0.75)
    look = ClipTransform(short_sides=sides, long_side=longest, crop=crop, colors=None)
    videos = DatasetVideos(dataset)
    rule = _rule(published.reach)
    sources = {dataset: RecipeSource(videos, rule, look, 1.0, asked, root=dataset)}
    if published.stills:
        stills = StillVideos(
            RenamedStills(None if published.task == "evs" else dataset),
            size=(sides[-1], sides[-1]),
            num_frames=_CLIP + _FURTHER,
        )
        as_it_is = ClipTransform(flip=0.0, colors=None)
        sources["coco_panoptic"] = RecipeSource(
            stills, _rule(_DENSE), as_it_is, 1.0, asked, root="coco_panoptic"
        )
    return sources


def _overrides(dataset: str, backbone: str) -> Mapping[str, Any]:
    """The config of the model; hints need no classes, but the model has to have one."""
    published = _DATASETS[dataset]
    changes: dict[str, Any] = {"vocabulary": dataset}
    if published.task == "evs":
        changes["vocabulary"] = ("object",)
    if published.stills:
        changes["short_side"] = 360 if backbone == "resnet50" else 480
    return changes


def _recipe(dataset: str, backbone: str) -> Recipe:
    published = _DATASETS[dataset]
    asks_for_classes = published.task in ("vss", "vps")
    return Recipe(
        name=f"gvseg_{dataset}_{backbone}",
        description=(
            f"GvSeg, {backbone}, for {published.task.upper()} on {dataset}: "
            f"{published.steps:,} steps of 16 clips, from a Mask2Former of COCO"
        ),
        model=f"gvseg_{backbone}",
        model_overrides=_overrides(dataset, backbone),
        sources=_sources(dataset, backbone),
        criterion=GvSegCriterion,
        criterion_options={"vocabulary": dataset} if asks_for_classes else {},
        # The paper's 1e-3 is ten times what all systems of its kind take, and taken for a misprint.
        loop=LoopSettings(
            steps=published.steps,
            batch_size=2,
            learning_rate=1e-4,
            schedule=Schedule(milestones=(published.drop,)),
            precision="fp16",
            chunk=1,
        ),
        initial=InitialWeights(
            backbone="timm", tag=TAGS[backbone], required=True, start=start_from
        ),
        total_batch=TOTAL_BATCH,
    )


_PUBLISHED = [_recipe(dataset, backbone) for dataset in _DATASETS for backbone in BACKBONES]

RECIPES = (*_PUBLISHED, *map(small_gpu, _PUBLISHED))
