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
from segblocks.training.recipes.small_models import (
    COCO,
    CPU_LOOP,
    CPU_STILLS,
    CPU_WORLD,
    LOOP,
    RELIT,
    STILLS,
    WORLD,
)
from segblocks.training.recipes.videos import CompositesOfStills, StillVideos, WorldVideos
from segblocks.zoo.tmt_vis.nano import NANO_SHAPES

_VIS = {"vis": 1.0}
_RULE = ClipRule(num_frames=2, reach=4, max_objects=None, min_area=24)
_SHAPES = tuple(dict.fromkeys(shape for shapes in NANO_SHAPES.values() for shape in shapes))
# 1 : 1 : 0.75, as of the datasets of the paper.
_WEIGHTS = {"shapes_a": 0.16, "shapes_b": 0.16, "shapes_c": 0.12}


def _sources(stills: tuple[int, int], world: tuple[int, int]) -> dict[str, RecipeSource]:
    """All datasets, for frames of these sizes."""
    turned = StillVideos(COCO, size=stills)
    pasted = CompositesOfStills(COCO, size=stills, keep_background=True)
    return {
        "stills": RecipeSource(turned, _RULE, RELIT, 0.34, _VIS, root="stills", optional=True),
        "composites": RecipeSource(pasted, _RULE, RELIT, 0.22, _VIS, root="stills", optional=True),
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
        sources=_sources(STILLS, WORLD),
        criterion=criterion,
        criterion_options={"num_points": 4096},
        loop=LOOP,
        initial=InitialWeights(backbone="efficientnet_lite0"),
    )


def _cpu(recipe: Recipe, title: str) -> Recipe:
    """The same with a quarter of the pixels, and fewer and smaller steps."""
    return replace(
        recipe,
        name=f"{recipe.name}_cpu",
        description=f"the small {title} at a quarter of the size, for two CPU cores",
        sources=_sources(CPU_STILLS, CPU_WORLD),
        criterion_options={"num_points": 1024},
        loop=CPU_LOOP,
        # A Mask2Former of its own, with queries, that knows these pictures.
        initial=InitialWeights(relative="univs_nano"),
    )


_MASK2FORMER = _large("mask2former_vis_nano", "Mask2Former-VIS", Mask2FormerVISCriterion)
_TMT = _large("tmt_vis_nano", "TMT-VIS", TMTVISCriterion)

RECIPES = (_MASK2FORMER, _cpu(_MASK2FORMER, "Mask2Former-VIS"), _TMT, _cpu(_TMT, "TMT-VIS"))
