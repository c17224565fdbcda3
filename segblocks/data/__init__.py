"""Datasets in their official formats, pseudo-videos and the synthetic world."""

from segblocks.data.dataset import VideoDataset
from segblocks.data.registry import list_datasets, open_dataset
from segblocks.data.sample import IGNORE, Expression, ObjectInfo, Truth, VideoSample

__all__ = [
    "IGNORE",
    "Expression",
    "ObjectInfo",
    "Truth",
    "VideoDataset",
    "VideoSample",
    "list_datasets",
    "open_dataset",
]
