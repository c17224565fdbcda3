"""From videos to training clips."""

from segblocks.data.clips.changing_light import ChangingLight
from segblocks.data.clips.clip import TrainingClip
from segblocks.data.clips.clip_dataset import ClipDataset, ClipSource
from segblocks.data.clips.clip_rule import ClipRule
from segblocks.data.clips.clip_transform import ClipTransform
from segblocks.data.clips.composites import CompositeVideos
from segblocks.data.clips.linear_colors import LinearColors

__all__ = [
    "ChangingLight",
    "ClipDataset",
    "ClipRule",
    "ClipSource",
    "ClipTransform",
    "CompositeVideos",
    "LinearColors",
    "TrainingClip",
]
