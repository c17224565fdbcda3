"""TarViS on the synthetic world: no data is needed, and a laptop is enough."""

from __future__ import annotations

from segblocks.data.clips import ClipRule, ClipTransform
from segblocks.training.criteria.tarvis import TarViSCriterion
from segblocks.training.recipe import Recipe, RecipeSource
from segblocks.training.recipes.videos import WorldVideos
from segblocks.training.schedule import Schedule
from segblocks.training.settings import LoopSettings

# The world draws its videos as they should be.
_AS_IT_IS = ClipTransform(flip=0.0, colors=None)

RECIPES = (
    Recipe(
        name="tarvis_synthetic",
        description="any TarViS on the synthetic world, for VIS, VPS, VOS and PET; needs no data",
        model="tarvis_nano",
        model_overrides={"vocabularies": ("synthetic",)},
        sources={
            "world": RecipeSource(
                WorldVideos("easy", size=(96, 160), num_frames=8),
                ClipRule(num_frames=3, reach=4),
                _AS_IT_IS,
                weight=1.0,
                tasks={"vis": 0.3, "vps": 0.2, "vos": 0.3, "pet": 0.2},
            )
        },
        criterion=TarViSCriterion,
        criterion_options={"num_points": 1024, "semantic_points": 2048},
        loop=LoopSettings(
            steps=2000,
            batch_size=4,
            learning_rate=5e-4,
            backbone_factor=1.0,
            clip_norm=0.1,
            schedule=Schedule(warmup=100, cosine=True),
            save_every=500,
            chunk=1,
        ),
    ),
)
