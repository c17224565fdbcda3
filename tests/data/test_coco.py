"""COCO is read as it is written, panoptic and as instances with every form of mask."""

from __future__ import annotations

import os
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from segblocks.data.coco import COCOInstancesDataset, COCOPanopticDataset, write_coco
from segblocks.data.registry import open_dataset
from segblocks.data.sample import IGNORE, ObjectInfo, Truth
from segblocks.label_files import rgb_to_id
from segblocks.ops.rle import encode
from tests.data.made_panoptic import (
    SIZE,
    STREET,
    as_still,
    assert_same_panoptic,
    edit_json,
    made_street,
)

STILLS = (
    made_street("000000000001", num_frames=1),
    made_street("000000000002", (255, 65536), crowd=(65536,), num_frames=1, void=False),
)
INSTANCES = "annotations/instances_val2017.json"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_coco(STILLS, tmp_path, suffix=".png")
    write_coco(STILLS, tmp_path, suffix=".png", kind="instances")
    return tmp_path


def test_panoptic_round_trip(root: Path) -> None:
    dataset = open_dataset("coco_panoptic", root)
    assert (dataset.task, dataset.names) == ("vps", ("000000000001", "000000000002"))
    dataset = pickle.loads(pickle.dumps(dataset))
    for read, made in zip(dataset, STILLS, strict=True):
        assert_same_panoptic(read, as_still(made))
    assert dataset[1].attributes == {"image_id": 2}


def test_other_places(root: Path) -> None:
    (root / "annotations/panoptic_val2017").rename(root / "panoptic_val2017")
    (root / "images").mkdir()
    (root / "val2017").rename(root / "images/val2017")
    assert_same_panoptic(COCOPanopticDataset(root)[0], as_still(STILLS[0]))


def test_videos_become_stills(tmp_path: Path) -> None:
    made = made_street("walk", annotated=(0, 2))
    write_coco([made], tmp_path, suffix=".png")
    dataset = COCOPanopticDataset(tmp_path)
    assert dataset.names == ("walk_00000", "walk_00002")
    np.testing.assert_array_equal(dataset[1].read_frame(0), made.read_frame(2))
    assert dataset[1].read_truth(0).ids == made.read_truth(2).ids


def test_instances_round_trip(root: Path) -> None:
    dataset = pickle.loads(pickle.dumps(open_dataset("coco_instances", root)))
    assert (dataset.task, len(dataset)) == ("vis", 2)
    for read, made in zip(dataset, STILLS, strict=True):
        truth, ours = made.read_truth(0), read.read_truth(0)
        np.testing.assert_array_equal(ours.masks, truth.masks)
        assert ours.ids == tuple(range(1, len(truth.ids) + 1))
        assert (ours.semantic, ours.ignore) == (None, None)
        assert [(i.label, i.is_crowd) for i in read.objects] == [
            (i.label, i.is_crowd) for i in made.objects
        ]
        np.testing.assert_array_equal(read.read_frame(0), made.read_frame(0))
    assert [info.attributes["annotation_id"] for info in dataset[1].objects] == [4, 5]


def test_instances_may_overlap_and_a_picture_may_have_none(tmp_path: Path) -> None:
    masks = np.zeros((2, *SIZE), np.bool_)
    masks[0, :4], masks[1, 2:, 3:] = True, True
    objects = (ObjectInfo(1, 1), ObjectInfo(2, 3))
    overlap = replace(
        STILLS[0], read_truth=lambda t: Truth((1, 2), masks), objects=objects, name="overlap"
    )
    empty = replace(STILLS[0], read_truth=lambda t: Truth((), masks[:0]), objects=(), name="empty")
    write_coco([overlap, empty], tmp_path, kind="instances")
    dataset = COCOInstancesDataset(tmp_path)
    np.testing.assert_array_equal(dataset[0].read_truth(0).masks, masks)
    assert dataset[1].read_truth(0).masks.shape == (0, *SIZE)
    with pytest.raises(ValueError, match="write_coco: overlap: objects overlap"):
        write_coco([overlap], tmp_path)


def test_polygons_and_plain_run_lengths(root: Path) -> None:
    mask_tools = pytest.importorskip("pycocotools.mask")
    polygons = [[1.5, 1.0, 9.2, 1.4, 8.0, 6.6], [10.0, 2.0, 13.0, 2.0, 13.0, 7.0, 10.0, 7.0]]
    plain = np.zeros(SIZE, np.bool_)
    plain[3:5, 2:9] = True

    def change(content: Any) -> None:
        content["annotations"][0]["segmentation"] = polygons
        counts = encode(plain).counts.tolist()
        content["annotations"][1]["segmentation"] = {"size": list(SIZE), "counts": counts}

    edit_json(root / INSTANCES, change)
    masks = COCOInstancesDataset(root)[0].read_truth(0).masks
    ours = mask_tools.decode(mask_tools.merge(mask_tools.frPyObjects(polygons, *SIZE))) > 0
    np.testing.assert_array_equal(masks[0], ours)
    np.testing.assert_array_equal(masks[1], plain)


def test_valid_is_val(root: Path) -> None:
    assert len(COCOPanopticDataset(root, "valid")) == 2


def test_errors(root: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"panoptic_train2017\.json, train/panoptic\.json"):
        COCOPanopticDataset(root, "train")
    with pytest.raises(ValueError, match="0 of 4 categories are what vipseg calls them"):
        COCOPanopticDataset(root, vocabulary="vipseg")
    few = STREET.subset(["road", "sky", "person"])
    with pytest.raises(ValueError, match=r"annotations\[0\]: .*category_id 5 is not among"):
        COCOPanopticDataset(root, vocabulary=few)
    with pytest.raises(ValueError, match=r"annotations\[0\]: category_id 5 is not among"):
        COCOInstancesDataset(root, vocabulary=few)
    edit_json(root / INSTANCES, lambda c: c["annotations"][1].update(image_id=9))
    with pytest.raises(ValueError, match=r"annotations\[1\]: image_id 9 is not among the images"):
        COCOInstancesDataset(root)
    edit_json(root / INSTANCES, lambda c: c["images"][1].update(c["images"][0]))
    with pytest.raises(ValueError, match=r"instances_val2017\.json: images: a file_name occurs"):
        COCOInstancesDataset(root)
    with pytest.raises(ValueError, match="kind must be 'panoptic' or 'instances', got 'things'"):
        write_coco(STILLS, root, kind="things")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="at least one annotated frame"):
        write_coco([], root, kind="instances")


@pytest.fixture(scope="module")
def real() -> Path:
    if "SEGBLOCKS_DATA" not in os.environ:
        pytest.skip("needs SEGBLOCKS_DATA")
    return Path(os.environ["SEGBLOCKS_DATA"]) / "stills"


@pytest.mark.data
@pytest.mark.parametrize(("split", "count", "segments"), [("val", 60, 696), ("train", 640, 7047)])
def test_real_panoptic(real: Path, split: str, count: int, segments: int) -> None:
    dataset = COCOPanopticDataset(real, split)
    assert len(dataset) == count
    assert dataset.vocabulary is not None
    assert len(dataset.vocabulary) == 191
    assert dataset.vocabulary.category_id(dataset.vocabulary.index("necktie")) > 1000
    found = 0
    for i in range(0, count, max(1, count // 20)):
        sample = dataset[i]
        truth = sample.read_truth(0)
        assert truth.semantic is not None
        assert sample.read_frame(0).shape == (*truth.semantic.shape, 3)
        assert truth.ids == tuple(info.id for info in sample.objects)
        for info, mask in zip(sample.objects, truth.masks, strict=True):
            assert (truth.semantic[mask] == info.label).all()
        with Image.open(real / split / "panoptic" / f"{sample.name}.png") as image:
            ids = rgb_to_id(np.array(image))
        np.testing.assert_array_equal(ids == 0, truth.semantic == IGNORE)
        found += len(sample.objects)
    assert found > 100
    assert sum(len(s.ids) for _, s in dataset._segments.values()) == segments


@pytest.mark.data
def test_real_instances(real: Path) -> None:
    dataset = COCOInstancesDataset(real, file="val/person.json")
    assert (len(dataset), dataset.vocabulary and dataset.vocabulary.classes) == (40, ("person",))
    panoptic = COCOPanopticDataset(real)
    for i in range(0, 40, 8):
        truth = dataset[i].read_truth(0)
        assert truth.ids == (1,)
        whole = panoptic[panoptic.names.index(dataset[i].name)].read_truth(0)
        np.testing.assert_array_equal(truth.masks[0], whole.masks.any(axis=0))
