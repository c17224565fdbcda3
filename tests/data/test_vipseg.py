"""VIPSeg is read as it is written; errors name file and field."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
from PIL import Image

from segblocks.data.registry import open_dataset
from segblocks.data.vipseg import VIPSegDataset, write_vipseg
from tests.data.made_panoptic import STREET, assert_same_panoptic, edit_json, made_street

VIDEOS = (
    made_street("0_wHv", frame_names="{:08d}".format),
    made_street("12_abc", (300, 70000), crowd=(300,), annotated=(0, 2), void=False),
)
GT = "panoptic_gt_VIPSeg_val.json"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_vipseg(VIDEOS, tmp_path, suffix=".png")
    return tmp_path


def test_round_trip(root: Path) -> None:
    dataset = open_dataset("vipseg", root)
    assert (dataset.name, dataset.task, dataset.names) == ("vipseg", "vps", ("0_wHv", "12_abc"))
    for read, made in zip(dataset, VIDEOS, strict=True):
        assert_same_panoptic(read, made)
    assert (root / "panomasksRGB/0_wHv/00000001.png").is_file()


def test_jpeg_is_the_default(tmp_path: Path) -> None:
    write_vipseg(VIDEOS, tmp_path, "train")
    assert (tmp_path / "images/0_wHv/00000001.jpg").is_file()
    assert VIPSegDataset(tmp_path, "train")[0].read_frame(1).shape == (*VIDEOS[0].size, 3)


def test_workers_can_have_it(root: Path) -> None:
    dataset = pickle.loads(pickle.dumps(VIPSegDataset(root, vocabulary=STREET)))
    assert_same_panoptic(pickle.loads(pickle.dumps(dataset[1])), VIDEOS[1])


def test_errors(root: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"panoptic_gt_VIPSeg_train\.json: no such file"):
        VIPSegDataset(root, "train")
    with pytest.raises(ValueError, match=r"frame 1 has no annotation; annotated are \[0, 2\]"):
        VIPSegDataset(root, "valid")[1].read_truth(1)
    sample = VIPSegDataset(root)[0]
    png = root / "panomasksRGB/0_wHv/00000001.png"
    Image.new("RGB", (5, 4), (8, 0, 0)).save(png)
    with pytest.raises(ValueError, match=r"00000001\.png: expected 8x14 pixels .* got 4x5"):
        sample.read_truth(1)
    Image.new("RGB", (14, 8), (8, 0, 0)).save(png)
    with pytest.raises(
        ValueError, match=r"00000001\.png: the picture has the id 8, .* no category"
    ):
        sample.read_truth(1)
    png.unlink()
    with pytest.raises(FileNotFoundError, match=r"00000001\.png"):
        sample.read_truth(1)
    Image.new("RGB", (5, 4)).save(root / "images/0_wHv/00000002.png")
    with pytest.raises(ValueError, match=r"00000002\.png: expected 8x14 pixels .* got 4x5"):
        sample.read_frame(2)


def test_broken_json(root: Path) -> None:
    def drop(content: dict) -> None:
        del content["annotations"][1]["annotations"][0]["segments_info"][0]["category_id"]

    edit_json(root / GT, drop)
    where = r"val\.json: annotations of 12_abc: 00000\.png: segments_info\[0\]: .*'category_id'"
    with pytest.raises(ValueError, match=where):
        VIPSegDataset(root)
    (root / GT).write_text('{"videos": [')
    with pytest.raises(ValueError, match=r"VIPSeg_val\.json: not readable as JSON"):
        VIPSegDataset(root)
    with pytest.raises(ValueError, match="at least one sample"):
        write_vipseg([], root)
