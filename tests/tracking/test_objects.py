from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from segblocks.tasks import EVS, PET, VOS, HintTask
from segblocks.tracking.objects import ObjectTracker
from segblocks.tracking.overlap import LogitRows

SIZE = (32, 16)


def block(row: int) -> NDArray[np.bool_]:
    """The mask of eight pixel rows, which logits at stride 4 give back exactly."""
    mask = np.zeros(SIZE, bool)
    mask[8 * row : 8 * row + 8] = True
    return mask


def logits(
    rows: Mapping[int, int | None], num_frames: int = 4, high: float = 1.0
) -> dict[int, torch.Tensor]:
    """Logits id -> (T, 8, 4) of objects in a block each, or nowhere."""
    made = {}
    for i, row in rows.items():
        made[i] = torch.full((num_frames, 8, 4), -1.0)
        if row is not None:
            made[i][:, 2 * row : 2 * row + 2] = high
    return made


def tracker(*tasks: HintTask, official_compat: bool = False) -> ObjectTracker:
    return ObjectTracker(dict(enumerate(tasks)), SIZE, SIZE, official_compat=official_compat)


def shown(objects: ObjectTracker, rows: LogitRows, t: int, task: int = 0) -> list[list[int]]:
    """The blocks that each object of a task covers."""
    masks = objects.masks(task, rows, t)
    # Looked at in their middle: unequal logits move the border between blocks.
    return [np.flatnonzero(mask.any(axis=1)[4::8]).tolist() for mask in masks]


def describe(tasks: list[HintTask]) -> dict[str, dict[int, tuple[int, ...]]]:
    return {t.name: {f: hints.ids for f, hints in t.hints.items()} for t in tasks}


def test_objects_of_all_tasks_get_ids_of_their_own() -> None:
    objects = tracker(VOS([block(0), block(1)], [5, 2]), PET({3: [(1, 1)], 1: [(2, 2)]}))
    found = [(o.task, o.user_id, o.first_frame) for o in objects.objects.values()]
    assert found == [(0, 5, 0), (0, 2, 0), (1, 1, 1), (1, 2, 3)]
    assert objects.first_frame == 0
    assert describe(objects.clip_tasks(0, 3)) == {"vos": {0: (1, 2)}, "pet": {1: (3,)}}


def test_masks_of_the_last_clip_become_references_until_an_object_is_lost() -> None:
    objects = tracker(VOS([block(0), block(1)]))
    objects.update(logits({1: 2, 2: 3}), 0, 4, 2)
    (vos,) = objects.clip_tasks(2, 4)
    assert describe([vos]) == {"vos": {0: (1, 2), 1: (1, 2)}}
    np.testing.assert_array_equal(vos.hints[1].values, [block(2), block(3)])
    objects.update(logits({1: 2, 2: None}), 2, 4, 2)
    assert describe(objects.clip_tasks(4, 4)) == {"vos": {0: (1,), 1: (1,)}}


def test_references_may_overlap_while_results_may_not() -> None:
    objects = tracker(VOS([block(0), block(1)]))
    maps = logits({1: 2, 2: 3})
    maps[1][:, 6:] = 0.5
    rows = objects.update(maps, 0, 4, 2)
    assert shown(objects, rows, 0) == [[2], [3]]
    (vos,) = objects.clip_tasks(2, 4)
    np.testing.assert_array_equal(vos.hints[0].values, [block(2) | block(3), block(3)])


def test_tasks_do_not_compete_for_pixels() -> None:
    objects = tracker(VOS([block(0)]), VOS([block(0)]))
    maps = logits({1: 2, 2: 2})
    maps[2] = 2 * maps[2]
    rows = objects.update(maps, 0, 4, 4, last=True)
    assert shown(objects, rows, 0, 0) == shown(objects, rows, 0, 1) == [[2]]


def test_a_given_mask_replaces_the_prediction_on_its_frame() -> None:
    objects = tracker(VOS({0: [block(0)], 3: [block(1)]}, {0: [1], 3: [1]}))
    objects.update(logits({1: 2}), 0, 4, 2)
    (vos,) = objects.clip_tasks(2, 4)
    np.testing.assert_array_equal(vos.hints[0].values, [block(2)])
    np.testing.assert_array_equal(vos.hints[1].values, [block(1)])


def test_two_masks_of_one_object_in_one_frame_are_one_mask() -> None:
    objects = tracker(VOS([block(0), block(2)], [4, 4]))
    (vos,) = objects.clip_tasks(0, 4)
    np.testing.assert_array_equal(vos.hints[0].values, [block(0) | block(2)])


@pytest.mark.parametrize(("row", "kind"), [(1, "vos"), (None, "pet")])
def test_a_point_is_used_until_there_is_a_mask(row: int | None, kind: str) -> None:
    objects = tracker(PET({3: [(4, 12)]}))
    assert describe(objects.clip_tasks(0, 4)) == {"pet": {3: (1,)}}
    objects.update(logits({1: row}), 0, 4, 2)
    assert describe(objects.clip_tasks(2, 4)) == {kind: {1: (1,)}}


def test_nothing_is_shown_before_the_first_hint() -> None:
    objects = tracker(VOS({2: [block(0)]}))
    rows = objects.update(logits({1: 0}), 0, 4, 4, last=True)
    assert [shown(objects, rows, t) for t in range(4)] == [[[]], [[]], [[0]], [[0]]]


def test_hints_come_at_the_size_of_the_model() -> None:
    tasks: dict[int, HintTask] = {0: VOS([block(1)]), 1: PET([(15, 31)])}
    vos, pet = ObjectTracker(tasks, SIZE, (16, 8)).clip_tasks(0, 4)
    np.testing.assert_array_equal(vos.hints[0].values, [block(1)[::2, ::2]])
    np.testing.assert_allclose(pet.hints[0].values, [(7.25, 15.25)])


def three_clips(official_compat: bool, empty: bool = False) -> list[list[int]]:
    """Frames 0 to 7 as clips of 4 with 2 shared; the object is in block n in clip n."""
    objects = tracker(VOS([block(0)]), official_compat=official_compat)
    found = []
    for n in range(3):
        last = n == 2
        maps = logits({1: None if empty and n == 1 else n}, high=4.0)
        rows = objects.update(maps, 2 * n, 4, 4 if last else 2, last=last)
        found += [shown(objects, rows, t)[0] for t in range(rows.num_frames)]
    return found


def test_shared_frames_are_averaged() -> None:
    assert three_clips(False) == [[0], [0], [0, 1], [0, 1], [1, 2], [1, 2], [2], [2]]


def test_official_compat_prefers_the_later_clip_but_for_the_last() -> None:
    assert three_clips(True) == [[0], [0], [1], [1], [1], [1], [2], [2]]


def test_official_compat_keeps_the_earlier_clip_where_the_later_shows_nothing() -> None:
    assert three_clips(True, empty=True) == [[0], [0], [0], [0], [], [], [2], [2]]


def test_official_compat_takes_an_object_that_wins_no_pixel_for_empty() -> None:
    objects = tracker(VOS([block(0), block(1)]), official_compat=True)
    objects.update(logits({1: 0, 2: 1}), 0, 4, 2)
    maps = logits({1: 3, 2: 3}, high=2.0)
    maps[2] = 2 * maps[2]
    rows = objects.update(maps, 2, 4, 2)
    assert shown(objects, rows, 0) == [[0], [3]]


def test_objects_that_are_not_asked_for_have_empty_masks() -> None:
    objects = tracker(VOS([block(0), block(1)], [3, 9]))
    rows = objects.update({}, 0, 4, 4, last=True)
    assert objects.masks(0, rows, 3).shape == (2, *SIZE)
    assert not objects.masks(0, rows, 3).any()


def test_boxes_are_refused() -> None:
    with pytest.raises(ValueError, match="masks or points, got boxes"):
        tracker(EVS(boxes=[(0, 0, 4, 4)]))
