"""What the recipes of the small models share: sizes of frames, data, and the loop."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from segblocks.data.clips import ChangingLight, ClipRule, ClipTransform
from segblocks.training.initial import InitialWeights
from segblocks.training.recipe import RecipeSource
from segblocks.training.recipes.videos import (
    CompositesOfStills,
    StillsFolder,
    StillVideos,
    WorldVideos,
)
from segblocks.training.schedule import Schedule
from segblocks.training.settings import LoopSettings

COCO, PARTS, PEOPLE = StillsFolder("coco"), StillsFolder("parts"), StillsFolder("people")
AS_IT_IS = ClipTransform(flip=0.0, colors=None)
# Stills are mirrored and recoloured as they become videos, but their light stands still.
RELIT = replace(AS_IT_IS, light=ChangingLight())

# (H, W) of frames made of stills and of the world, on a GPU and on a CPU.
STILLS, WORLD = (320, 320), (256, 416)
CPU_STILLS, CPU_WORLD = (160, 160), (128, 208)

LOOP = LoopSettings(
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
)
# The layers of the backbone that cost most stay as they are.
CPU_LOOP = replace(
    LOOP,
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
# What two cores have taught one model, they need not teach the next.
CPU_INITIAL = InitialWeights(relative="tarvis_nano")


@dataclass(frozen=True)
class SmallData:
    """Make the sources of a small model.

    Args:
        rule: what a clip takes from a video.
        num_frames: of videos that are made of stills.
    """

    rule: ClipRule
    num_frames: int = 3

    def stills(
        self, part: StillsFolder, weight: float, tasks: Mapping[str, float], size: tuple[int, int]
    ) -> RecipeSource:
        """Turn and shift stills; left out where their folder is not given."""
        videos = StillVideos(part, size=size, num_frames=self.num_frames)
        return RecipeSource(videos, self.rule, RELIT, weight, tasks, root="stills", optional=True)

    def composites(
        self,
        part: StillsFolder,
        weight: float,
        tasks: Mapping[str, float],
        size: tuple[int, int],
        *,
        keep_background: bool = False,
    ) -> RecipeSource:
        """Cut objects out of stills, and move them over pictures of COCO."""
        videos = CompositesOfStills(
            part,
            COCO,
            size=size,
            num_frames=self.num_frames,
            # Where nothing else looks like an object, how it looks is all that need be learnt.
            twins=0.4,
            keep_background=keep_background,
        )
        return RecipeSource(videos, self.rule, RELIT, weight, tasks, root="stills", optional=True)

    def world(
        self, preset: str, weight: float, tasks: Mapping[str, float], size: tuple[int, int]
    ) -> RecipeSource:
        """Take videos of the synthetic world."""
        videos = WorldVideos(preset, size=size, num_frames=12)
        return RecipeSource(videos, self.rule, ClipTransform(), weight, tasks)
