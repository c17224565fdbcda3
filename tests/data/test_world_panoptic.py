"""A video of the synthetic world is the same after each panoptic, semantic and still layout."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from segblocks.data import open_dataset
from segblocks.data.frame_transform import RandomPose
from segblocks.data.pseudo_video import PseudoVideos
from segblocks.data.synthetic import SyntheticWorld, world_config
from segblocks.data.synthetic.write import write_world

WORLD = SyntheticWorld(world_config("tiny"), seed=3, length=2)
JSON_FREE = ("kitti_step", "vspw", "ade20k", "cityscapes")
VIDEOS = ("vipseg", "cityscapes_vps", "kitti_step", "vspw")
STILLS = ("coco_panoptic", "coco_instances", "ade20k", "cityscapes", "mapillary")


@pytest.mark.parametrize("name", [*VIDEOS, *STILLS])
def test_round_trip(name: str, tmp_path: Path) -> None:
    lossy = {"suffix": ".png"} if name not in ("cityscapes_vps", "kitti_step", "cityscapes") else {}
    write_world(WORLD, name, tmp_path, "valid", **lossy)
    options = {"vocabulary": WORLD.vocabulary} if name in JSON_FREE else {}
    dataset = open_dataset(name, tmp_path, split="val", **options)
    assert dataset.vocabulary is not None
    assert WORLD.vocabulary is not None
    assert dataset.vocabulary.classes == WORLD.vocabulary.classes
    frames = [(made, t) for made in WORLD for t in made.annotated]
    assert len(dataset) == (len(WORLD) if name in VIDEOS else len(frames))
    if name in VIDEOS:
        read = [(sample, t) for sample in dataset for t in sample.annotated]
    else:
        read = [(sample, 0) for sample in dataset]
    for (sample, s), (made, t) in zip(read, frames, strict=True):
        np.testing.assert_array_equal(sample.read_frame(s), made.read_frame(t))
        ours, theirs = sample.read_truth(s), made.read_truth(t)
        if name != "coco_instances":
            np.testing.assert_array_equal(ours.semantic, theirs.semantic)
        if name == "vspw":
            continue
        labels = {info.id: info.label for info in made.objects}
        expected = {
            (labels[i], mask.tobytes()) for i, mask in zip(theirs.ids, theirs.masks, strict=True)
        }
        labels = {info.id: info.label for info in sample.objects}
        found = {(labels[i], mask.tobytes()) for i, mask in zip(ours.ids, ours.masks, strict=True)}
        assert found == expected
        if name not in ("coco_instances", "cityscapes"):
            assert ours.ids == theirs.ids


def test_pseudo_videos_of_a_world() -> None:
    videos = PseudoVideos(WORLD, pose=RandomPose((48, 48)), num_frames=2)
    truth = videos[1].read_truth(1)
    assert truth.masks.shape[1:] == (48, 48)
    assert truth.semantic is not None
