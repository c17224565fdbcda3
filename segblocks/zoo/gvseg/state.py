"""What GvSeg remembers of a video between two clips."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from segblocks.tracking.instances import InstanceTrack
from segblocks.tracking.policy import VideoState
from segblocks.tracking.shape_position import QuerySlots
from segblocks.zoo.gvseg.hinted import HintBook


@dataclass
class GvSegState(VideoState):
    """What GvSeg remembers of a video.

    Args:
        slots: of things, or of hinted objects.
        tracks: of the things of VIS and VPS, one a slot; a track's id is its slot's number from 1.
        book: the hints of the video.
        features: key -> what was read of each hinted object so far.
        keys: of the hinted objects, one a slot.
        is_keyed: whether the tasks of the next clip come from the policy, with keys for ids.
    """

    slots: QuerySlots | None = None
    tracks: list[InstanceTrack] = field(default_factory=list)
    book: HintBook | None = None
    features: dict[int, Tensor] = field(default_factory=dict)
    keys: list[int] = field(default_factory=list)
    is_keyed: bool = False
