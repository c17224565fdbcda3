"""Hints are of the kind that was drawn, and lie in the masks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segblocks.data.clips import ClipRule
from segblocks.data.clips.clip_tasks import ask_by_class, ask_by_hint
from segblocks.tasks import EVS, PET, PVOS, VOS, HintTask


def some_masks(seed: int, count: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    masks = rng.random((count, 12, 17)) < rng.choice([0.02, 0.3])
    for mask in masks:
        mask[rng.integers(12), rng.integers(17)] = True
    return masks


@settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 999),
    task=st.sampled_from(["vos", "pvos", "pet", "evs"]),
    shares=st.sampled_from([(0.0, 0.0), (0.3, 0.3), (1.0, 0.0), (0.0, 1.0)]),
    reference=st.integers(0, 2),
)
def test_hints_lie_in_the_masks(seed, task, shares, reference):
    masks, ids = some_masks(seed, 5), [9, 4, 30, 1, 2]
    rule = ClipRule(point_share=shares[0], box_share=shares[1])
    rng = np.random.default_rng(seed)
    tasks, order = ask_by_hint(rng, task, rule, reference, masks, ids)
    named = [i for each in tasks for i in each.object_ids]  # pyright: ignore[reportAttributeAccessIssue]
    assert named == [ids[i] for i in order]
    assert sorted(order) == [0, 1, 2, 3, 4]
    for each in tasks:
        assert isinstance(each, HintTask)
        each.validate(12, 17)
        assert list(each.hints) == [reference]
        hints = each.hints[reference]
        for value, identity in zip(hints.values, hints.ids, strict=True):
            mask = masks[ids.index(identity)]
            if hints.kind == "mask":
                assert np.array_equal(value, mask)
            elif hints.kind == "point":
                assert mask[int(value[1]), int(value[0])]
            else:
                left, top, right, bottom = value.astype(int)
                assert mask[top:bottom, left:right].sum() == mask.sum()
                assert mask[top].any()
                assert mask[bottom - 1].any()
                assert mask[:, left].any()
                assert mask[:, right - 1].any()


@pytest.mark.parametrize(
    ("task", "kinds"),
    [
        ("vos", {VOS: {"mask"}, PET: {"point"}}),
        ("pvos", {PVOS: {"mask"}}),
        ("pet", {PET: {"point"}}),
        ("evs", {EVS: {"mask", "point", "box"}}),
    ],
)
def test_each_task_gives_its_kinds(task, kinds):
    rule, found = ClipRule(point_share=0.3, box_share=0.3), {}
    for seed in range(20):
        rng = np.random.default_rng(seed)
        for each in ask_by_hint(rng, task, rule, 0, some_masks(seed, 3), [1, 2, 3])[0]:
            found.setdefault(type(each), set()).update(h.kind for h in each.hints.values())  # pyright: ignore[reportAttributeAccessIssue]
    assert found == kinds


def test_points_come_as_often_as_asked():
    rule, masks = ClipRule(point_share=0.3), some_masks(0, 4)
    points = 0
    for seed in range(250):
        tasks, _ = ask_by_hint(np.random.default_rng(seed), "vos", rule, 0, masks, [1, 2, 3, 4])
        points += sum(len(each.object_ids) for each in tasks if isinstance(each, PET))
    assert abs(points / 1000 - 0.3) < 0.06


def test_classes_need_a_vocabulary():
    with pytest.raises(ValueError, match="'street': has no classes, which the task 'vis' needs"):
        ask_by_class("vis", None, "street")
