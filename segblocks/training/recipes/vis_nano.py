"""The small Mask2Former-VIS and TMT-VIS, on stills and on datasets that name different classes.

Both see the same clips, so that what the taxonomy is worth can be told.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from torch import nn

from segblocks.data.clips import ClipRule, ClipTransform
from segblocks.training.criteria.mask2former_vis import Mask2FormerVISCriterion
from segblocks.training.criteria.tmt_vis import TMTVISCriterion
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
from segblocks.zoo.tmt_vis.nano import NANO_SHAPES

_VIS = {"vis": 1.0}
_RULE = ClipRule(num_frames=2, reach=4, max_objects=None, min_area=24)
_COCO = StillsFolder("coco")
_AS_IT_IS = ClipTransform(flip=0.0, colors=None)
_SHAPES = tuple(dict.fromkeys(shape for shapes in NANO_SHAPES.values() for shape in shapes))
# 1 : 1 : 0.75, as of the datasets of the paper.
_WEIGHTS = {"shapes_a": 0.16, "shapes_b": 0.16, "shapes_c": 0.12}


def _sources(stills: tuple[int, int], world: tuple[int, int]) -> dict[str, RecipeSource]:
    """All datasets, for frames of these sizes."""
    turned = StillVideos(_COCO, size=stills)
    pasted = CompositesOfStills(_COCO, size=stills, keep_background=True)
    return {
        "stills": RecipeSource(turned, _RULE, _AS_IT_IS, 0.34, _VIS, root="stills", optional=True),
        "composites": RecipeSource(
            pasted, _RULE, _AS_IT_IS, 0.22, _VIS, root="stills", optional=True
        ),
        **{
            name: RecipeSource(
                WorldVideos("default", world, num_frames=12, changes=_labels(name)),
                _RULE,
                ClipTransform(),
                weight,
                _VIS,
            )
            for name, weight in _WEIGHTS.items()
        },
    }


def _labels(name: str) -> dict[str, str | tuple[str, ...]]:
    """Changes to a world that shows all shapes, and names those of one dataset."""
    own = NANO_SHAPES[name]
    others = tuple(shape for shape in _SHAPES if shape not in own)
    return {"name": name, "things": own, "unlabelled_things": others}


def _large(model: str, title: str, criterion: Callable[..., nn.Module]) -> Recipe:
    return Recipe(
        name=model,
        description=f"the small {title} on stills and three synthetic datasets, for one large GPU",
        model=model,
        sources=_sources((320, 320), (256, 416)),
        criterion=criterion,
        criterion_options={"num_points": 4096},
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


def _cpu(recipe: Recipe, title: str) -> Recipe:
    """The same with a quarter of the pixels, and fewer and smaller steps."""
    loop = replace(
        recipe.loop,
        steps=8000,
        batch_size=2,
        learning_rate=5e-4,
        schedule=Schedule(warmup=300, cosine=True, final=0.01),
        precision="fp32",
        ema=0.998,
        frozen=tuple(f"backbone.net.{part}" for part in ("conv_stem", "blocks.0", "blocks.1")),
        save_every=200,
        workers=1,
    )
    return replace(
        recipe,
        name=f"{recipe.name}_cpu",
        description=f"the small {title} at a quarter of the size, for two CPU cores",
        sources=_sources((160, 160), (128, 208)),
        criterion_options={"num_points": 1024},
        loop=loop,
    )


_MASK2FORMER = _large("mask2former_vis_nano", "Mask2Former-VIS", Mask2FormerVISCriterion)
_TMT = _large("tmt_vis_nano", "TMT-VIS", TMTVISCriterion)

RECIPES = (_MASK2FORMER, _cpu(_MASK2FORMER, "Mask2Former-VIS"), _TMT, _cpu(_TMT, "TMT-VIS"))
