"""Cityscapes-VPS is read as it is written, sparse and dense."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from segblocks.data.cityscapes_vps import CityscapesVPSDataset, write_cityscapes_vps
from segblocks.data.files import write_json, write_picture
from segblocks.data.registry import open_dataset
from tests.data.made_panoptic import assert_same_panoptic, made_street


def image_name(video: int, t: int) -> str:
    return f"{video:04d}_{t + 1:04d}_made_{video - 1:06d}_{t:06d}"


VIDEOS = tuple(
    made_street(f"{v:04d}", ids, crowd=crowd, frame_names=lambda t, v=v: image_name(v, t))
    for v, ids, crowd in ((1, (1, 2, 7), (2,)), (2, (256, 65536), ()))
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_cityscapes_vps(VIDEOS, tmp_path)
    return tmp_path


def test_round_trip(root: Path) -> None:
    dataset = open_dataset("cityscapes_vps", root)
    assert (dataset.task, dataset.names) == ("vps", ("0001", "0002"))
    for read, made in zip(dataset, VIDEOS, strict=True):
        assert_same_panoptic(read, made)
    assert_same_panoptic(pickle.loads(pickle.dumps(dataset))[1], VIDEOS[1])


def test_dense_videos_are_annotated_here_and_there(root: Path) -> None:
    images = []
    for video in (2, 1):
        for frame in range(6):
            # The annotated frames 0, 1, 2 are every second one of the dense video.
            t = frame // 2 if frame % 2 == 0 else 100 + frame
            name = f"made_{video - 1:06d}_{t:06d}_leftImg8bit.png"
            images.append({"id": video * 10000 + frame + 1, "file_name": name})
            write_picture(root / "val/img_all" / name, VIDEOS[video - 1].read_frame(frame % 3))
    write_json(root / "im_all_info_val_city_vps.json", {"images": images})
    sample = CityscapesVPSDataset(root, dense=True)[1]
    assert (sample.num_frames, sample.annotated) == (6, (0, 2, 4))
    np.testing.assert_array_equal(sample.read_frame(5), VIDEOS[1].read_frame(2))
    sparse = replace(sample, read_truth=lambda t: sample.read_truth(2 * t))
    np.testing.assert_array_equal(sparse.read_truth(1).semantic, VIDEOS[1].read_truth(1).semantic)
    assert sample.frame_names[2] == "made_000001_000001_leftImg8bit"
    write_json(root / "im_all_info_val_city_vps.json", {"images": images[:-1]})
    assert len(CityscapesVPSDataset(root, dense=True)) == 2
    write_json(root / "im_all_info_val_city_vps.json", {"images": images[:-2]})
    with pytest.raises(
        ValueError, match=r"im_all_info_val_city_vps\.json: images: the video of .* lacks"
    ):
        CityscapesVPSDataset(root, dense=True)


def test_errors(root: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"panoptic_gt_test_city_vps\.json"):
        CityscapesVPSDataset(root, "test")
    with pytest.raises(FileNotFoundError, match=r"im_all_info_val_city_vps\.json"):
        CityscapesVPSDataset(root, dense=True)
    with pytest.raises(ValueError, match="at least one sample"):
        write_cityscapes_vps([], root)
