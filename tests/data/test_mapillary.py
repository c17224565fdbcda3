"""Mapillary is read as it is written, in the folders of its versions."""

from __future__ import annotations

from pathlib import Path

import pytest

from segblocks.data.mapillary import MapillaryDataset, write_mapillary
from segblocks.data.registry import open_dataset
from tests.data.made_panoptic import as_still, assert_same_panoptic, made_street

STILLS = (made_street("a-B", num_frames=1), made_street("c_D", (70000,), num_frames=1, void=False))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_mapillary(STILLS, tmp_path, suffix=".png")
    return tmp_path


def test_round_trip(root: Path) -> None:
    dataset = open_dataset("mapillary", root)
    assert (dataset.name, dataset.task, dataset.names) == ("mapillary", "vps", ("a-B", "c_D"))
    for read, made in zip(dataset, STILLS, strict=True):
        assert_same_panoptic(read, as_still(made))


def test_valid_is_val(root: Path) -> None:
    assert len(MapillaryDataset(root, "valid")) == 2


def test_other_versions(root: Path) -> None:
    folder = root / "validation"
    (folder / "v1.2/panoptic").rename(folder / "panoptic")
    assert_same_panoptic(MapillaryDataset(root)[1], as_still(STILLS[1]))
    with pytest.raises(
        FileNotFoundError, match=r"found none of v2\.0/panoptic/panoptic_2020\.json"
    ):
        MapillaryDataset(root, version="v2.0")
    with pytest.raises(ValueError, match="version must be one of"):
        MapillaryDataset(root, version="v3")
    with pytest.raises(FileNotFoundError, match="training: found none of"):
        MapillaryDataset(root, "train")
