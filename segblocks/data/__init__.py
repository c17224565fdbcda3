"""Datasets in their official formats, pseudo-videos and the synthetic world."""

from segblocks.data.sample import Expression, ObjectInfo, Truth, VideoSample

__all__ = ["Expression", "ObjectInfo", "Truth", "VideoSample"]
