"""The recipes by name."""

from segblocks.training.overrides import close_matches
from segblocks.training.recipe import Recipe, RecipeSource
from segblocks.training.recipes import (
    gvseg,
    gvseg_nano,
    mask2former_vis,
    tarvis_finetune,
    tarvis_nano,
    tarvis_nano_finetune,
    tarvis_pretrain,
    tarvis_synthetic,
    tmt_vis,
    univs,
    univs_nano,
    vis_nano,
)

_FAMILIES = (
    tarvis_pretrain,
    tarvis_finetune,
    tarvis_nano,
    tarvis_nano_finetune,
    tarvis_synthetic,
    mask2former_vis,
    gvseg,
    gvseg_nano,
    tmt_vis,
    univs,
    univs_nano,
    vis_nano,
)
_RECIPES = {recipe.name: recipe for family in _FAMILIES for recipe in family.RECIPES}


def list_recipes() -> tuple[str, ...]:
    """Return the names that :func:`get_recipe` knows, sorted.

    Example:
        >>> "tarvis_synthetic" in list_recipes()
        True
    """
    return tuple(sorted(_RECIPES))


def get_recipe(name: str) -> Recipe:
    """Return a recipe.

    Args:
        name: one of `list_recipes`.

    Raises:
        ValueError: there is none of this name; close matches are listed.

    Example:
        >>> get_recipe("tarvis_finetune_resnet50").loop.steps
        90000
    """
    if name not in _RECIPES:
        raise ValueError(f"there is no recipe {name!r}{close_matches(name, _RECIPES)}")
    return _RECIPES[name]


__all__ = ["Recipe", "RecipeSource", "get_recipe", "list_recipes"]
