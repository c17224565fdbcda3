"""Panoptic PNGs keep every id of 24 bits; vocabularies come from the file or fit it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segblocks.data.panoptic_png import (
    PanopticPng,
    PanopticTruth,
    choose_vocabulary,
    collect_objects,
    make_truth,
    paint_segments,
    parse_segments,
    read_categories,
    same_vocabulary,
    write_categories,
    write_panoptic_png,
)
from segblocks.data.sample import IGNORE, ObjectInfo, Truth
from segblocks.text.vocabulary import Vocabulary, get_vocabulary
from tests.data.made_panoptic import SIZE, STREET, made_street

INDICES = {2: 0, 5: 1, 9: 2, 11: 3}


@given(
    ids=st.sets(
        st.integers(1, (1 << 24) - 1) | st.sampled_from([255, 256, 65535, 65536, (1 << 24) - 1]),
        max_size=4,
    ),
    void=st.booleans(),
    t=st.integers(0, 2),
)
def test_any_ids(
    tmp_path_factory: pytest.TempPathFactory, ids: set[int], void: bool, t: int
) -> None:
    made = made_street(ids=sorted(ids), void=void)
    truth = made.read_truth(t)
    painted, info = paint_segments(truth, made.objects, STREET, "made")
    path = tmp_path_factory.mktemp("png") / "a" / "map.png"
    write_panoptic_png(path, painted)
    segments = parse_segments(info, INDICES, "made")
    read = PanopticTruth({t: PanopticPng(path, segments)}, SIZE, STREET)(t)
    assert read.ids == truth.ids
    np.testing.assert_array_equal(read.masks, truth.masks)
    np.testing.assert_array_equal(read.semantic, truth.semantic)
    assert (read.ignore is not None) == void
    assert sum(record["area"] for record in info) == (truth.semantic != IGNORE).sum()


def test_records_say_what_coco_wants() -> None:
    truth = made_street().read_truth(1)
    painted, info = paint_segments(truth, made_street().objects, STREET, "made")
    assert info[0] == {
        "id": 1, "category_id": 5, "area": 6, "bbox": [0, 3, 2, 3], "iscrowd": 0
    }  # fmt: skip
    # Stuff takes the smallest numbers that no object has, the same in every frame.
    assert {record["id"]: record["category_id"] for record in info} == {
        1: 5, 2: 11, 7: 5, 3: 2, 5: 9
    }  # fmt: skip
    assert set(np.unique(painted).tolist()) == {0, 1, 2, 3, 5, 7}


def test_a_thing_without_object_becomes_a_crowd() -> None:
    truth = Truth((), np.zeros((0, 2, 2), np.bool_), np.array([[1, 1], [0, IGNORE]], np.int16))
    painted, info = paint_segments(truth, (), STREET, "made")
    segments = parse_segments(info, INDICES, "made")
    (crowd,) = collect_objects([segments], STREET, "made")
    assert (crowd.label, crowd.is_crowd) == (1, True)
    np.testing.assert_array_equal(
        make_truth(painted, segments, STREET, "made").semantic, truth.semantic
    )


def test_segments_without_pixels_are_left_out() -> None:
    records = [{"id": 4, "category_id": 5}, {"id": 300, "category_id": 5, "iscrowd": 1}]
    segments = parse_segments(records, INDICES, "made")
    truth = make_truth(np.full((2, 3), 300), segments, STREET, "made")
    assert truth.ids == (300,)
    assert truth.masks.all()
    assert truth.ignore is None
    assert collect_objects([segments], STREET, "made") == (
        ObjectInfo(4, 1),
        ObjectInfo(300, 1, is_crowd=True),
    )


def test_no_segments_at_all() -> None:
    truth = make_truth(np.zeros((2, 3), int), parse_segments([], INDICES, "made"), STREET, "made")
    assert truth.masks.shape == (0, 2, 3)
    assert (truth.semantic == IGNORE).all()


def test_errors_name_file_and_field() -> None:
    def parse(**record: object) -> None:
        parse_segments([{"id": 1, "category_id": 5} | record], INDICES, "gt.json: 00001")

    with pytest.raises(ValueError, match=r"gt\.json: 00001: segments_info\[0\]: category_id 77"):
        parse(category_id=77)
    with pytest.raises(ValueError, match=r"id must lie in 1\.\.16777215, got 0"):
        parse(id=0)
    with pytest.raises(ValueError, match=r"segments_info\[0\]: the field 'id' is missing"):
        parse_segments([{"category_id": 5}], INDICES, "x")
    with pytest.raises(ValueError, match="an id occurs twice"):
        parse_segments([{"id": 1, "category_id": 5}] * 2, INDICES, "x")
    with pytest.raises(ValueError, match=r"a\.png: the picture has the id 8, which has no cat"):
        make_truth(np.array([[0, 8]]), parse_segments([], INDICES, "x"), STREET, "a.png")
    car, person = (parse_segments([{"id": 1, "category_id": c}], INDICES, "x") for c in (5, 11))
    with pytest.raises(ValueError, match="id 1 is 'car' in one frame and 'person' in another"):
        collect_objects([car, person], STREET, "x")


def test_what_cannot_be_written() -> None:
    made = made_street()
    truth = made.read_truth(1)
    with pytest.raises(ValueError, match="here: objects overlap"):
        paint_segments(
            replace(truth, masks=np.ones_like(truth.masks)), made.objects, STREET, "here"
        )
    with pytest.raises(ValueError, match="object 1 must have a label"):
        paint_segments(truth, (), STREET, "here")
    with pytest.raises(ValueError, match="0001 has no vocabulary"):
        same_vocabulary(replace(made, vocabulary=None), None, "here")
    with pytest.raises(ValueError, match="all samples must have one vocabulary"):
        same_vocabulary(made, get_vocabulary("vipseg"), "here")


def test_categories_of_the_file() -> None:
    content = {"categories": write_categories(STREET)}
    read = read_categories(content, "vipseg", "dir/gt.json")
    assert (read.classes, read.thing_ids, read.category_ids) == (
        STREET.classes,
        STREET.thing_ids,
        STREET.category_ids,
    )
    assert read.name == "categories of gt.json"
    official = get_vocabulary("vipseg")
    assert read_categories({"categories": write_categories(official)}, "vipseg", "x") is official
    with pytest.raises(ValueError, match=r"gt\.json: the field 'categories' is missing"):
        read_categories({}, "vipseg", "gt.json")
    with pytest.raises(ValueError, match=r"gt\.json: categories\[0\]: the field 'name'"):
        read_categories({"categories": [{"id": 1}]}, "vipseg", "gt.json")
    twice = [{"id": i, "name": "car"} for i in (1, 2)]
    with pytest.raises(ValueError, match=r"gt\.json: categories: .*distinct"):
        read_categories({"categories": twice}, "vipseg", "gt.json")


def test_a_vocabulary_that_is_given() -> None:
    content = {"categories": write_categories(STREET)}
    renamed = Vocabulary("mine", ("Road", "car", "a"), things={1}, category_ids=(2, 5, 6))
    assert choose_vocabulary(renamed, content, "vipseg", "gt.json") is renamed
    with pytest.raises(ValueError, match=r"gt\.json: 0 of 4 categories are what vipseg calls th"):
        choose_vocabulary("vipseg", content, "vipseg", "gt.json")
