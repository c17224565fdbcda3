from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from segblocks.data.registry import list_datasets, open_dataset
from segblocks.data.synthetic import SyntheticWorld, world_config, write_world

STILLS = {"ade20k", "cityscapes", "coco_instances", "coco_panoptic", "mapillary"}
TAKES_CLASSES_OF_THE_FILE = {"ovis", "uvo", "youtube_vis_2019", "youtube_vis_2021"}
TAKES_CLASSES_FROM_THE_CALLER = {"kitti_step", "vspw"}


@pytest.mark.parametrize("name", list_datasets())
def test_what_a_world_writes_is_read_back(name: str, tmp_path: Path) -> None:
    world = SyntheticWorld(world_config("tiny", things=("star", "ring")), seed=2)
    write_world(world, name, tmp_path, "val", 2, start=3)
    options: dict[str, Any] = {}
    if name in TAKES_CLASSES_OF_THE_FILE:
        options["vocabulary"] = None
    if name in TAKES_CLASSES_FROM_THE_CALLER:
        options["vocabulary"] = world.vocabulary
    dataset = open_dataset(name, tmp_path, split="val", **options)
    if name in STILLS:
        assert len(dataset) == 2 * world.config.num_frames
        assert dataset[0].read_frame(0).shape == (48, 64, 3)
        return
    if name != "cityscapes_vps":  # which numbers its videos
        assert [n.split("/")[-1] for n in dataset.names] == [world[3].name, world[4].name]
    for read, made in zip((dataset[0], dataset[1]), (world[3], world[4]), strict=True):
        assert (read.num_frames, read.size) == (made.num_frames, made.size)
        for t in read.annotated:
            truth, found = made.read_truth(t), read.read_truth(t)
            if name == "vspw":
                np.testing.assert_array_equal(found.semantic, truth.semantic)
            else:
                np.testing.assert_array_equal(found.masks.any(0), truth.masks.any(0))


def test_wrong_datasets_and_missing_counts_are_named(tmp_path: Path) -> None:
    world = SyntheticWorld(world_config("tiny"))
    with pytest.raises(ValueError, match="did you mean 'davis201"):
        write_world(world, "davis", tmp_path, count=1)
    with pytest.raises(ValueError, match="needs count"):
        write_world(world, "davis2017", tmp_path)
