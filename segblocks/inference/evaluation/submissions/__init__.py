"""The submission formats of the benchmarks, written and read."""

from segblocks.inference.evaluation.submissions.base import Submission
from segblocks.inference.evaluation.submissions.label_maps import (
    AnnotationFolders,
    ClassIndices,
    ObjectIds,
    OneObject,
    Sentences,
    StepMaps,
)
from segblocks.inference.evaluation.submissions.panoptic import PanopticFolders, PanopticPictures
from segblocks.inference.evaluation.submissions.tracks import BURSTResults, YouTubeVISResults

#: The submission format of each dataset that has one.
SUBMISSIONS: dict[str, type[Submission]] = {
    "burst": BURSTResults,
    "cityscapes_vps": PanopticPictures,
    "davis2016": OneObject,
    "davis2017": ObjectIds,
    "kitti_step": StepMaps,
    "mose": ObjectIds,
    "ovis": YouTubeVISResults,
    "ref_youtube_vos": Sentences,
    "uvo": YouTubeVISResults,
    "viposeg": AnnotationFolders,
    "vipseg": PanopticFolders,
    "vspw": ClassIndices,
    "youtube_vis_2019": YouTubeVISResults,
    "youtube_vis_2021": YouTubeVISResults,
    "youtube_vos_2018": AnnotationFolders,
    "youtube_vos_2019": AnnotationFolders,
}

__all__ = ["SUBMISSIONS", "Submission"]
