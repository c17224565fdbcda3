from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from segblocks.tasks import (
    EVS,
    PET,
    PVOS,
    VIS,
    VOS,
    VPS,
    VSS,
    CategoryTask,
    HintTask,
    RefVOS,
    Task,
    as_tasks,
)
from segblocks.text.vocabulary import Vocabulary, get_vocabulary


def square(*corners: tuple[int, int], size: int = 8) -> np.ndarray:
    masks = np.zeros((len(corners), size, size), dtype=bool)
    for mask, (y, x) in zip(masks, corners, strict=True):
        mask[y : y + 2, x : x + 2] = True
    return masks


def test_every_task_says_its_name():
    masks = square((0, 0))
    tasks: list[Task] = [
        VIS(["a"]),
        VPS(["a"]),
        VSS(["a"]),
        VOS(masks),
        PET([(1, 1)]),
        EVS(masks=masks),
        RefVOS(["the dog"]),
        PVOS(masks),
    ]
    assert [t.name for t in tasks] == ["vis", "vps", "vss", "vos", "pet", "evs", "refvos", "pvos"]
    assert [isinstance(t, CategoryTask) for t in tasks] == [True] * 3 + [False] * 5
    assert [isinstance(t, HintTask) for t in tasks] == [False] * 3 + [True] * 3 + [False, True]


def test_vocabulary_by_name_by_list_and_by_object():
    own = Vocabulary("street", ("road", "car"), {1})
    assert VIS("youtube_vis_2021").resolve() is get_vocabulary("youtube_vis_2021")
    assert VPS(own).resolve() is own
    assert VSS(["cat", "dog"]).resolve().classes == ("cat", "dog")
    assert VIS(["cat", "dog"]).resolve().thing_ids == (0, 1)


def test_classes_narrow_the_vocabulary_in_their_own_order():
    vocabulary = VPS("kitti_step", classes=["car", "sky", "person"]).resolve()
    assert vocabulary.classes == ("car", "sky", "person")
    assert vocabulary.thing_ids == (0, 2)


def test_the_union_is_left_to_the_model():
    task = VIS("union", classes=["dog"])
    assert task.vocabulary == "union"
    with pytest.raises(ValueError, match="'union' is that of a model that joins several"):
        task.resolve()


def test_unknown_names_raise_at_once_with_close_matches():
    with pytest.raises(ValueError, match="did you mean 'youtube_vis_20"):
        VIS("youtubevis_2021")
    with pytest.raises(ValueError, match="did you mean 'person'"):
        VPS("kitti_step", classes=["persn"])


def test_masks_in_every_form_agree():
    masks = square((0, 0), (4, 4))
    forms = [
        masks,
        masks.astype(np.uint8),
        masks.astype(np.float32),
        masks.tolist(),
        list(masks),
        torch.from_numpy(masks),
        [torch.from_numpy(m) for m in masks],
        {0: masks},
        {0: torch.from_numpy(masks)},
    ]
    for form in forms:
        task = VOS(form)
        assert task.object_ids == (1, 2)
        assert task.hints[0].kind == "mask"
        assert task.hints[0].values.dtype == np.bool_
        np.testing.assert_array_equal(task.hints[0].values, masks)


def test_points_and_boxes_become_float64():
    assert PET(torch.tensor([[1, 2], [3, 4]])).hints[0].values.dtype == np.float64
    boxes = EVS(boxes={2: [(0, 0, 3, 4)]}).hints[2]
    assert boxes.kind == "box"
    np.testing.assert_array_equal(boxes.values, [[0.0, 0.0, 3.0, 4.0]])


def test_without_ids_later_hints_are_new_objects_in_frame_order():
    task = PET({7: [(1, 1)], 2: [(0, 0), (5, 5)]})
    assert list(task.hints) == [2, 7]
    assert [task.hints[f].ids for f in (2, 7)] == [(1, 2), (3,)]
    assert task.first_frame == 2
    assert task.object_ids == (1, 2, 3)


def test_a_repeated_id_is_the_same_object_in_order_of_first_appearance():
    task = VOS(
        {0: square((0, 0), (4, 4)), 5: square((1, 1), (3, 3))},
        ids={0: [9, 4], 5: torch.tensor([4, 1])},
    )
    assert task.object_ids == (9, 4, 1)


@pytest.mark.parametrize(
    "ids",
    [[1], [1, 2, 3], [0, 1], [-1, 2], [1.5, 2.0], {0: [1, 2]}],
)
def test_ids_of_another_structure_raise(ids):
    with pytest.raises(ValueError, match="ids"):
        VOS(square((0, 0), (4, 4)), ids=ids)


def test_ids_of_other_frames_raise():
    with pytest.raises(ValueError, match=r"frames \[0, 3\], got \[0, 2\]"):
        PET({0: [(1, 1)], 3: [(1, 1)]}, ids={0: [1], 2: [1]})


def test_label_maps_are_refused_and_the_message_says_how_to_convert():
    label_map = np.array([[0, 1], [2, 2]])
    with pytest.raises(ValueError, match="masks_from_label_map"):
        VOS(label_map)
    with pytest.raises(ValueError, match="masks_from_label_map"):
        VOS((label_map > 0).astype(np.uint8))
    with pytest.raises(ValueError, match="masks_from_label_map"):
        VOS(label_map[None])
    with pytest.raises(ValueError, match=r"masks\[None\]"):
        VOS(label_map > 0)


@pytest.mark.parametrize(
    "make",
    [
        lambda: VOS(np.zeros((0, 4, 4), dtype=bool)),
        lambda: PET([]),
        lambda: PET([(1, 2, 3)]),
        lambda: PET([("a", "b")]),
        lambda: PET({}),
        lambda: PET({-1: [(1, 1)]}),
        lambda: PET({0.5: [(1, 1)]}),
        lambda: EVS(boxes=[(1, 2, 3)]),
        lambda: EVS(),
        lambda: EVS(points=[(1, 1)], boxes=[(0, 0, 1, 1)]),
        lambda: RefVOS([]),
        lambda: RefVOS(["a dog", " "]),
    ],
)
def test_malformed_hints_raise(make):
    with pytest.raises(ValueError):  # noqa: PT011
        make()


def test_validate_passes_what_lies_on_the_rim():
    VOS(square((6, 6))).validate(8, 8)
    PET([(-0.5, -0.5), (7.49, 5.49)]).validate(6, 8)
    EVS(boxes=[(0, 0, 8, 6)]).validate(6, 8)


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (VOS(square((0, 0), size=6)), r"size of the frames, \(8, 8\), got \(6, 6\)"),
        (VOS(np.zeros((1, 8, 8), dtype=bool), ids=[5]), "mask of object 5 .* empty"),
        (PET([(7.5, 0)]), "inside the 8x8 frame"),
        (PET({3: [(0, -0.6)]}), "point of object 1 in frame 3"),
        (PET([(float("nan"), 0)]), "finite"),
        (EVS(points=[(float("inf"), 0)]), "finite"),
        (EVS(boxes=[(2, 2, 2, 4)]), "x0 < x1"),
        (EVS(boxes=[(4, 2, 3, 4)]), "x0 < x1"),
        (EVS(boxes=[(0, 0, 8.5, 4)]), "inside"),
        (EVS(boxes=[(0, float("nan"), 1, 4)]), "finite"),
    ],
)
def test_validate_names_the_hint(task, message):
    with pytest.raises(ValueError, match=message):
        task.validate(8, 8)


@settings(max_examples=60, deadline=None)
@given(
    frames=st.dictionaries(
        st.integers(0, 30), st.lists(st.integers(1, 6), min_size=1, max_size=4), min_size=1
    ),
    length=st.integers(1, 8),
)
def test_windows_partition_the_hints(frames, length):
    points = {f: [(f, i) for i in ids] for f, ids in frames.items()}
    task = PET(points, ids=frames)
    seen = {}
    for start in range(0, 31, length):
        window = task.window(start, start + length)
        if window is None:
            assert not any(start <= f < start + length for f in frames)
            continue
        assert isinstance(window, PET)
        seen |= {f + start: hints for f, hints in window.hints.items()}
    assert list(seen) == list(task.hints)
    for frame, hints in task.hints.items():
        assert seen[frame].ids == hints.ids
        np.testing.assert_array_equal(seen[frame].values, hints.values)


def test_tasks_of_lists_hash_and_compare():
    assert VIS(["cat", "dog"]) == VIS(("cat", "dog"))
    assert len({VIS("ovis", classes=["Dog"]), VIS("ovis", classes=("Dog",))}) == 1
    with pytest.raises(TypeError, match=r"vocabulary must be a name.* got NoneType"):
        VIS(None)


def test_expressions_are_objects_in_order():
    assert RefVOS("the dog").expressions == ("the dog",)
    assert RefVOS(["the dog", "the cat"]).object_ids == (1, 2)


def test_as_tasks_takes_one_or_several():
    vis, vos = VIS(["a"]), VOS(square((0, 0)))
    assert as_tasks(vis) == (vis,)
    assert as_tasks([vis, vos, vos]) == (vis, vos, vos)


def test_as_tasks_refuses_what_does_not_go_together():
    with pytest.raises(ValueError, match="at least one"):
        as_tasks([])
    with pytest.raises(ValueError, match="at most one of VIS, VPS and VSS"):
        as_tasks([VIS(["a"]), VSS(["a"])])
    with pytest.raises(TypeError, match="segblocks task"):
        as_tasks(["vis"])  # type: ignore[list-item]


def test_tasks_are_frozen_and_short_in_print():
    task = VOS({0: square((0, 0)), 4: square((4, 4))})
    assert repr(task) == "VOS(2 objects, mask in frames 0, 4)"
    with pytest.raises(AttributeError):
        task.ids = [3]  # type: ignore[misc]
