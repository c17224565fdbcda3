"""ADE20K is read as it is written; things come from the instances alone."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segblocks.data.ade20k import ADE20KDataset, write_ade20k
from segblocks.data.registry import open_dataset
from segblocks.text.vocabulary import get_vocabulary
from tests.data.made_panoptic import STREET, as_still, assert_same_panoptic, made_street

STILLS = (
    made_street("ADE_val_00000001", num_frames=1),
    made_street("ADE_val_00000002", (254, 255), num_frames=1, void=False),
)
INSTANCES = "annotations_instance/validation/ADE_val_00000001.png"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_ade20k(STILLS, tmp_path, suffix=".png")
    return tmp_path


def test_round_trip(root: Path) -> None:
    dataset = open_dataset("ade20k", root, vocabulary=STREET)
    assert (dataset.task, len(dataset)) == ("vps", 2)
    for read, made in zip(pickle.loads(pickle.dumps(dataset)), STILLS, strict=True):
        assert_same_panoptic(read, as_still(made))


def test_official_numbers(root: Path) -> None:
    """Bed is class 8 of 150 and 1 of 100, windowpane 9 and 2; flag is last in both."""
    semantic = np.array([[1, 8, 9, 0], [1, 8, 150, 1]], np.uint8)
    instances = np.zeros((2, 4, 3), np.uint8)
    instances[0, 1], instances[1, 2], instances[1, 3] = (1, 3, 0), (100, 1, 0), (2, 7, 0)
    name = "ADE_val_00000001"
    Image.fromarray(semantic).save(root / f"annotations/validation/{name}.png")
    Image.fromarray(instances).save(root / INSTANCES)
    Image.new("RGB", (4, 2)).save(root / f"images/validation/{name}.png")
    sample = ADE20KDataset(root)[0]
    vocabulary = get_vocabulary("ade20k")
    assert [(i.id, vocabulary.category_id(i.label or 0)) for i in sample.objects] == [
        (1, 150),
        (3, 8),
        (7, 9),
    ]
    # A thing without an object is not labelled, an object lies over what is semantic there.
    np.testing.assert_array_equal(sample.read_truth(0).semantic, [[0, 7, -1, -1], [0, -1, 149, 8]])


def test_valid_is_val(root: Path) -> None:
    assert len(ADE20KDataset(root, "valid", vocabulary=STREET)) == 2


def test_errors(root: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="images/training: no such folder"):
        ADE20KDataset(root, "train")
    with pytest.raises(ValueError, match=r"ids must lie in 1\.\.255, got 256"):
        write_ade20k([made_street(ids=(256,), num_frames=1)], tmp_path / "high")
    pixels = np.zeros((8, 14, 3), np.uint8)
    pixels[0] = (101, 1, 0)
    Image.fromarray(pixels).save(root / INSTANCES)
    with pytest.raises(ValueError, match=r"00000001\.png: object 1 has the class 101"):
        ADE20KDataset(root, vocabulary="ade20k")[0]
    pixels[:2] = [[(1, 1, 0)], [(2, 1, 0)]]
    Image.fromarray(pixels).save(root / INSTANCES)
    with pytest.raises(ValueError, match="object 1 has more than one class"):
        ADE20KDataset(root, vocabulary=STREET)[0]
    Image.new("RGB", (3, 8)).save(root / INSTANCES)
    with pytest.raises(ValueError, match=r"annotations_instance/.*expected 8x14 pixels"):
        ADE20KDataset(root, vocabulary=STREET)[0]
    (root / "annotations_instance").rename(root / "elsewhere")
    with pytest.raises(FileNotFoundError, match="annotations_instance/validation: no such folder"):
        ADE20KDataset(root)
