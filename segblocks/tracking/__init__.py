"""Joining clips: how inference talks to a system, and the parts that systems are made of."""

from __future__ import annotations

from segblocks.tracking.instances import InstanceTrack, InstanceTracker, select_instances
from segblocks.tracking.labelled import LabelledTrack, LabelledTracker, select_labelled
from segblocks.tracking.linking import link_masks
from segblocks.tracking.object_propagation import ObjectPropagation
from segblocks.tracking.objects import HintedObject, ObjectTracker
from segblocks.tracking.overlap import LogitRows, join
from segblocks.tracking.policy import VideoPolicy, VideoState
from segblocks.tracking.prompt_memory import PromptMemory, PromptTokens
from segblocks.tracking.semantic import SemanticJoiner, class_map
from segblocks.tracking.shape_position import QuerySlots, ShapePositionMatcher

__all__ = [
    "HintedObject",
    "InstanceTrack",
    "InstanceTracker",
    "LabelledTrack",
    "LabelledTracker",
    "LogitRows",
    "ObjectPropagation",
    "ObjectTracker",
    "PromptMemory",
    "PromptTokens",
    "QuerySlots",
    "SemanticJoiner",
    "ShapePositionMatcher",
    "VideoPolicy",
    "VideoState",
    "class_map",
    "join",
    "link_masks",
    "select_instances",
    "select_labelled",
]
