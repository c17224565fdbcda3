"""The numbers of the benchmarks, computed one video at a time."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from functools import partial

from segblocks.metrics.base import VideoMetric
from segblocks.metrics.boundary import boundary_f
from segblocks.metrics.g_score import GScore
from segblocks.metrics.hota import HOTA
from segblocks.metrics.j_and_f import JAndF
from segblocks.metrics.miou import MeanIoU
from segblocks.metrics.pq import PQ
from segblocks.metrics.stq import STQ
from segblocks.metrics.track_ap import COCO_AREAS, YOUTUBE_VIS_AREAS, TrackAP
from segblocks.metrics.video_consistency import VideoConsistency
from segblocks.metrics.vpq import CITYSCAPES_VPS_WINDOWS, VIPSEG_WINDOWS, VPQ

__all__ = [
    "CITYSCAPES_VPS_WINDOWS",
    "COCO_AREAS",
    "HOTA",
    "PQ",
    "STQ",
    "VIPSEG_WINDOWS",
    "VPQ",
    "YOUTUBE_VIS_AREAS",
    "GScore",
    "JAndF",
    "MeanIoU",
    "TrackAP",
    "VideoConsistency",
    "VideoMetric",
    "boundary_f",
    "metrics_for",
]

MetricFactory = Callable[[], VideoMetric]

# What the submissions hold: 10 candidates a video, 20 for OVIS, none of a class overlapping.
_youtube_vis = partial(TrackAP, top_k=10, exclusive=True)
_stills: tuple[MetricFactory, ...] = (PQ, MeanIoU)

_BY_TASK: dict[str, tuple[MetricFactory, ...]] = {
    "vis": (TrackAP,),
    "vps": (VPQ, STQ, PQ),
    "vss": (MeanIoU, VideoConsistency),
    "vos": (JAndF,),
    "pvos": (partial(GScore, by_kind=True),),
    "evs": (JAndF,),
    "pet": (HOTA, partial(JAndF, "after")),
    "refvos": (partial(JAndF, "all"),),
}

_BY_DATASET: dict[str, tuple[MetricFactory, ...]] = {
    "youtube_vis_2019": (_youtube_vis,),
    "youtube_vis_2021": (_youtube_vis,),
    "ovis": (partial(TrackAP, top_k=20, exclusive=True),),
    "uvo": (partial(TrackAP, top_k=100),),
    "vipseg": (partial(VPQ, VIPSEG_WINDOWS), STQ),
    "cityscapes_vps": (VPQ,),
    "kitti_step": (STQ,),
    "vspw": (MeanIoU, VideoConsistency),
    "davis2016": (JAndF,),
    "davis2017": (JAndF,),
    "mose": (JAndF,),
    "youtube_vos_2018": (GScore,),
    "youtube_vos_2019": (GScore,),
    "viposeg": (partial(GScore, by_kind=True),),
    "burst": (HOTA.burst,),
    "ref_davis17": (partial(JAndF, "all"),),
    "ref_youtube_vos": (partial(JAndF, "all"),),
    "coco_instances": (partial(TrackAP, area_ranges=COCO_AREAS, top_k=100),),
    "coco_panoptic": _stills,
    "ade20k": _stills,
    "cityscapes": _stills,
    "mapillary": _stills,
}


def metrics_for(name: str) -> tuple[MetricFactory, ...]:
    """Return what makes the metrics of a dataset, the first being its main one, or of a task.

    Args:
        name: of a dataset, such as ``"davis2017"``, or of a task, such as ``"vos"``.

    Raises:
        ValueError: neither; close matches are listed.

    Example:
        >>> [make() for make in metrics_for("vspw")]  # doctest: +ELLIPSIS
        [<segblocks.metrics.miou.MeanIoU ...>, <segblocks.metrics.video_consistency...>]
    """
    table = _BY_DATASET | _BY_TASK
    if name not in table:
        close = difflib.get_close_matches(name, table, n=3, cutoff=0.5)
        hint = f"; did you mean {' or '.join(map(repr, close))}?" if close else ""
        raise ValueError(f"no metrics are known for {name!r}{hint}; known are {', '.join(table)}")
    return table[name]
