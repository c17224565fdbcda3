"""The datasets by name."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from segblocks.data.ade20k import ADE20KDataset
from segblocks.data.burst import BURSTDataset
from segblocks.data.cityscapes import CityscapesDataset
from segblocks.data.cityscapes_vps import CityscapesVPSDataset
from segblocks.data.coco import COCOInstancesDataset, COCOPanopticDataset
from segblocks.data.dataset import VideoDataset
from segblocks.data.davis import DAVISDataset
from segblocks.data.kitti_step import KITTISTEPDataset
from segblocks.data.mapillary import MapillaryDataset
from segblocks.data.mose import MOSEDataset
from segblocks.data.ref_davis import open_ref_davis
from segblocks.data.referring import ReferringDataset
from segblocks.data.viposeg import VIPOSegDataset
from segblocks.data.vipseg import VIPSegDataset
from segblocks.data.vspw import VSPWDataset
from segblocks.data.youtube_vis import OVIS, UVO, YouTubeVISDataset
from segblocks.data.youtube_vos import YouTubeVOSDataset


@dataclass(frozen=True)
class _Entry:
    """A reader, called as ``reader(root, split=..., name=..., **options)``."""

    reader: Callable[..., VideoDataset]
    options: dict[str, Any] = field(default_factory=dict)


_DATASETS: dict[str, _Entry] = {
    "ade20k": _Entry(ADE20KDataset),
    "burst": _Entry(BURSTDataset),
    "cityscapes": _Entry(CityscapesDataset),
    "cityscapes_vps": _Entry(CityscapesVPSDataset),
    "coco_instances": _Entry(COCOInstancesDataset),
    "coco_panoptic": _Entry(COCOPanopticDataset),
    "davis2016": _Entry(DAVISDataset, {"year": 2016}),
    "davis2017": _Entry(DAVISDataset, {"year": 2017}),
    "kitti_step": _Entry(KITTISTEPDataset),
    "mapillary": _Entry(MapillaryDataset),
    "mose": _Entry(MOSEDataset),
    "ovis": _Entry(YouTubeVISDataset, {"layout": OVIS, "vocabulary": "ovis"}),
    "ref_davis17": _Entry(open_ref_davis),
    "ref_youtube_vos": _Entry(ReferringDataset),
    "uvo": _Entry(YouTubeVISDataset, {"layout": UVO, "vocabulary": "uvo"}),
    "viposeg": _Entry(VIPOSegDataset),
    "vipseg": _Entry(VIPSegDataset),
    "vspw": _Entry(VSPWDataset),
    "youtube_vis_2019": _Entry(YouTubeVISDataset, {"vocabulary": "youtube_vis_2019"}),
    "youtube_vis_2021": _Entry(YouTubeVISDataset, {"vocabulary": "youtube_vis_2021"}),
    "youtube_vos_2018": _Entry(YouTubeVOSDataset, {"year": 2018}),
    "youtube_vos_2019": _Entry(YouTubeVOSDataset, {"year": 2019}),
}


def list_datasets() -> tuple[str, ...]:
    """Return the names that `open_dataset` knows, sorted.

    Example:
        >>> "davis2017" in list_datasets()
        True
    """
    return tuple(sorted(_DATASETS))


def open_dataset(
    name: str, root: str | os.PathLike[str], *, split: str = "val", **options: Any
) -> VideoDataset:
    """Open a dataset in its official layout, as it is downloaded.

    Args:
        name: one of `list_datasets`.
        root: its folder.
        split: such as "train", "val" or "test"; "val" and "valid" are the same.
        options: of the reader, such as ``all_frames=True`` of `YouTubeVOSDataset`; they override
            those that the name stands for.

    Returns:
        Its videos; frames and annotations are read when asked for.

    Raises:
        ValueError: no such dataset (close matches are listed), or a broken file.
        TypeError: an option that the reader does not have.
        FileNotFoundError: a file or folder of the dataset is missing.

    Example:
        >>> dataset = open_dataset("davis2017", "DAVIS", split="val")  # doctest: +SKIP
        >>> len(dataset), dataset[0].name  # doctest: +SKIP
        (30, 'bike-packing')
    """
    if name not in _DATASETS:
        close = difflib.get_close_matches(str(name), _DATASETS, n=3, cutoff=0.5)
        hint = f"; did you mean {' or '.join(map(repr, close))}?" if close else ""
        raise ValueError(
            f"there is no dataset {name!r}{hint}; known are {', '.join(list_datasets())}"
        )
    entry = _DATASETS[name]
    return entry.reader(root, split=split, **{"name": name} | entry.options | options)
