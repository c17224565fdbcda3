"""What the published recipes have in common, and how they fit a small machine."""

from __future__ import annotations

from dataclasses import replace

from segblocks.training.recipe import Recipe

TOTAL_BATCH = 32
"""Clips of a step: 32 GPUs with one clip each in TarViS (Athar et al., CVPR 2023)."""

BACKBONES = {"resnet50": "tv_in1k", "swin_tiny": "ms_in1k", "swin_large": "ms_in22k"}
"""The backbones of the paper, and timm's tags of the ImageNet weights that it starts from."""


def small_gpu(recipe: Recipe) -> Recipe:
    """Return a recipe for one GPU: the same clips a step, one after another, in bfloat16.

    Example:
        >>> from segblocks.training.recipes import get_recipe
        >>> small_gpu(get_recipe("tarvis_finetune_resnet50")).loop.accumulate
        32
    """
    assert recipe.total_batch is not None
    loop = replace(
        recipe.loop, batch_size=1, accumulate=recipe.total_batch, precision="bf16", workers=4
    )
    return replace(
        recipe,
        name=f"{recipe.name}_small_gpu",
        description=f"{recipe.description}; on one GPU, clip by clip",
        loop=loop,
    )
