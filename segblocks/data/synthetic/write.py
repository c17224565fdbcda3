"""Write videos of a synthetic world as one of the official datasets."""

from __future__ import annotations

import difflib
import os
from importlib import import_module
from typing import Any

from segblocks.data.synthetic.world import SyntheticWorld

# By the dataset's name: the module of segblocks.data whose writer makes its layout, and options.
_WRITERS: dict[str, tuple[str, dict[str, Any]]] = {
    "ade20k": ("ade20k", {}),
    "burst": ("burst", {}),
    "cityscapes": ("cityscapes", {}),
    "cityscapes_vps": ("cityscapes_vps", {}),
    "coco_instances": ("coco", {"kind": "instances"}),
    "coco_panoptic": ("coco", {"kind": "panoptic"}),
    "davis2016": ("davis", {"year": 2016}),
    "davis2017": ("davis", {"year": 2017}),
    "kitti_step": ("kitti_step", {}),
    "mapillary": ("mapillary", {}),
    "mose": ("mose", {}),
    "ovis": ("youtube_vis", {}),
    "ref_davis17": ("referring", {}),
    "ref_youtube_vos": ("referring", {}),
    "uvo": ("youtube_vis", {}),
    "viposeg": ("viposeg", {}),
    "vipseg": ("vipseg", {}),
    "vspw": ("vspw", {}),
    "youtube_vis_2019": ("youtube_vis", {}),
    "youtube_vis_2021": ("youtube_vis", {}),
    "youtube_vos_2018": ("youtube_vos", {}),
    "youtube_vos_2019": ("youtube_vos", {}),
}


def write_world(
    world: SyntheticWorld,
    dataset: str,
    root: str | os.PathLike[str],
    split: str = "val",
    count: int | None = None,
    *,
    start: int = 0,
    **options: Any,
) -> None:
    """Write some videos of a world in the layout of a dataset, for ``open_dataset`` to read.

    The classes stay those of the world.

    Args:
        world: where the videos come from.
        dataset: a name that :func:`segblocks.data.registry.open_dataset` knows.
        root: the dataset's folder.
        split: name of the part.
        count: of videos; all of them where left out, which an endless world does not allow.
        start: index of the first.
        options: further arguments of the layout's writer.

    Raises:
        ValueError: no such dataset (close matches are listed), or a count that is missing for an
            endless world.

    Example:
        >>> import tempfile
        >>> from segblocks.data.registry import open_dataset
        >>> from segblocks.data.synthetic import world_config
        >>> with tempfile.TemporaryDirectory() as root:
        ...     write_world(SyntheticWorld(world_config("tiny")), "mose", root, count=2)
        ...     len(open_dataset("mose", root))
        2
    """
    if dataset not in _WRITERS:
        close = difflib.get_close_matches(dataset, _WRITERS, n=3, cutoff=0.5)
        hint = f"; did you mean {' or '.join(map(repr, close))}?" if close else ""
        raise ValueError(
            f"write_world: there is no dataset {dataset!r}{hint} (known are {', '.join(_WRITERS)})"
        )
    if count is None:
        if world.length is None:
            raise ValueError("write_world: an endless world needs count")
        count = world.length - start
    layout, settings = _WRITERS[dataset]
    write = getattr(import_module(f"segblocks.data.{layout}"), f"write_{layout}")
    write((world[i] for i in range(start, start + count)), root, split, **{**settings, **options})
