"""Clips keep to their rule: near frames, objects that the reference shows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segblocks.data.clips import ClipRule
from segblocks.data.clips.clip_rule import CLIP_TASKS
from segblocks.data.sample import Expression
from tests.data.clips.made_videos import boxes_video, moving_boxes

BOX = (5, 5, 15, 15)


@settings(max_examples=60, deadline=None)
@given(
    annotated=st.sets(st.integers(0, 30), min_size=1),
    num_frames=st.integers(1, 4),
    spare=st.integers(0, 6),
    order=st.sampled_from([None, "around", "after", "consecutive"]),
    task=st.sampled_from(["vis", "vos"]),
    seed=st.integers(0, 99),
)
def test_frames_lie_near_the_reference(annotated, num_frames, spare, order, task, seed):
    places = sorted(annotated)
    video = boxes_video({1: dict.fromkeys(places, BOX)}, 31, annotated=places)
    rule = ClipRule(num_frames=num_frames, reach=num_frames - 1 + spare, order=order)
    choice = rule.choose(np.random.default_rng(seed), video, task)
    if choice is None:
        assert len(places) < num_frames
        return
    assert len(choice.frames) == len(set(choice.frames)) == num_frames
    assert list(choice.frames) == sorted(choice.frames)
    chosen = [places.index(frame) for frame in choice.frames]
    reference = chosen[choice.reference]
    assert max(abs(place - reference) for place in chosen) <= rule.reach
    if order in ("after", "consecutive") or (order is None and task == "vos"):
        assert choice.reference == 0
    if order == "consecutive":
        assert chosen == list(range(chosen[0], chosen[0] + num_frames))
    for frame, truth in zip(choice.frames, choice.truths, strict=True):
        assert np.array_equal(truth.masks, video.read_truth(frame).masks)


@pytest.mark.parametrize("task", ["vis", "vos"])
def test_further_frames_come_from_the_whole_video_after_the_clip(task):
    video = boxes_video({1: dict.fromkeys(range(20), BOX)}, 20, annotated=range(20))
    rule = ClipRule(num_frames=2, reach=2, further=3)
    seen = set()
    for seed in range(40):
        choice = rule.choose(np.random.default_rng(seed), video, task)
        clip, further = choice.frames[:2], choice.frames[2:]
        assert clip[1] - clip[0] <= 2
        assert choice.reference < 2
        assert list(further) == sorted(set(further) - set(clip))
        assert (len(further), len(choice.truths)) == (3, 5)
        seen |= {frame - clip[0] for frame in further}
    assert min(seen) < -10
    assert max(seen) > 10
    short = boxes_video({1: dict.fromkeys(range(3), BOX)}, 3, annotated=range(3))
    assert len(rule.choose(np.random.default_rng(0), short, task).frames) == 3


def test_all_near_frames_are_taken_at_some_time():
    video, rule = moving_boxes(num_frames=12), ClipRule(num_frames=2, reach=3)
    found = set()
    for seed in range(300):
        choice = rule.choose(np.random.default_rng(seed), video, "vis")
        assert choice is not None
        found.add(choice.frames[1] - choice.frames[0])
        assert choice.reference in (0, 1)
    assert found == {1, 2, 3}


@pytest.mark.parametrize("task", ["vis", "vps", "vos", "pet", "evs", "pvos"])
def test_the_reference_shows_an_object(task):
    video = boxes_video({4: {2: BOX}}, 5)
    for seed in range(20):
        choice = ClipRule(num_frames=2).choose(np.random.default_rng(seed), video, task)
        assert choice is not None
        assert choice.frames[choice.reference] == 2
        assert choice.targets == ((4,),)


@pytest.mark.parametrize("task", ["vis", "vps", "vos", "refvos"])
def test_a_video_without_objects_gives_none(task):
    rng = np.random.default_rng(0)
    assert ClipRule().choose(rng, boxes_video({}, 5), task) is None
    assert ClipRule().choose(rng, boxes_video({1: {0: BOX}}, 5, crowds=[1]), task) is None
    assert ClipRule().choose(rng, moving_boxes(num_frames=2), task) is None


def test_semantic_segmentation_needs_no_object():
    choice = ClipRule().choose(np.random.default_rng(0), boxes_video({}, 5), "vss")
    assert choice is not None
    assert choice.targets == ()


def test_classes_are_asked_of_all_things_that_the_clip_shows():
    boxes = {1: {0: BOX}, 2: {1: BOX}, 3: {0: BOX, 1: BOX}, 5: {0: BOX}, 6: {1: BOX}}
    video = boxes_video(boxes, 2, labels={5: 0}, crowds=[6])
    rng = np.random.default_rng(0)
    choice = ClipRule(num_frames=2, max_objects=1).choose(rng, video, "vis")
    assert choice is not None
    assert choice.targets == ((1,), (2,), (3,))


def test_hints_are_of_objects_that_the_reference_shows():
    boxes = {1: {0: BOX}, 2: {1: BOX}, 3: {0: BOX, 1: BOX}, 5: {0: BOX}, 6: {0: BOX}}
    video = boxes_video(boxes, 2, labels={5: 0}, crowds=[6])
    rng = np.random.default_rng(0)
    choice = ClipRule(num_frames=2).choose(rng, video, "vos")
    assert choice is not None
    # Stuff can be hinted, crowds cannot.
    assert sorted(choice.targets) == [(1,), (3,), (5,)]


@pytest.mark.parametrize(("vary", "counts"), [(False, {3}), (True, {1, 2, 3})])
def test_the_number_of_hinted_objects(vary, counts):
    video, rule = moving_boxes(5), ClipRule(max_objects=3, vary_objects=vary)
    found = [rule.choose(np.random.default_rng(seed), video, "vos") for seed in range(60)]
    assert {len(choice.targets) for choice in found if choice} == counts
    assert {i for choice in found if choice for (i,) in choice.targets} == {1, 2, 3, 4, 5}
    assert len({choice.targets for choice in found if choice}) > 10


def test_small_objects_count_as_absent():
    video = boxes_video(
        {1: dict.fromkeys(range(4), (0, 0, 3, 3)), 2: dict.fromkeys(range(4), BOX)}, 4
    )
    rng = np.random.default_rng(0)
    for area, expected in ((9, {1, 2}), (10, {2})):
        choice = ClipRule(min_area=area).choose(rng, video, "vos")
        assert choice is not None
        assert {i for (i,) in choice.targets} == expected


def test_sentences_are_of_objects_that_the_reference_shows():
    expressions = [
        Expression("0", "the first", (1,)),
        Expression("1", "both", (1, 2)),
        Expression("2", "the third", (3,)),
    ]
    video = boxes_video({1: {0: BOX}, 2: {0: BOX}, 3: {}}, 1, expressions=expressions)
    choice = ClipRule(num_frames=1).choose(np.random.default_rng(0), video, "refvos")
    assert choice is not None
    assert dict(zip(choice.sentences, choice.targets, strict=True)) == {
        "the first": (1,),
        "both": (1, 2),
    }


@pytest.mark.parametrize("task", CLIP_TASKS)
def test_the_same_chance_gives_the_same_choice(task):
    expressions = [Expression("0", "it", (2,))]
    video = moving_boxes(expressions=expressions)
    first, second = (ClipRule().choose(np.random.default_rng(3), video, task) for _ in range(2))
    assert first is not None
    assert second is not None
    assert (first.frames, first.targets) == (second.frames, second.targets)


def test_an_object_without_class_is_an_error():
    video = boxes_video({1: {0: BOX}}, 1, labels={1: None})
    with pytest.raises(ValueError, match="'boxes': object 1 has no class, which the task 'vis'"):
        ClipRule(num_frames=1).choose(np.random.default_rng(0), video, "vis")


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"num_frames": 0}, "num_frames must be at least 1"),
        ({"num_frames": 4, "reach": 2}, "got 4 and 2"),
        ({"order": "before"}, "order must be .* got 'before'"),
        ({"max_objects": 0}, "max_objects must be at least 1"),
        ({"min_area": 0}, "min_area"),
        ({"point_share": 0.7, "box_share": 0.4}, "at most 1 together"),
        ({"point_share": -0.1}, "point_share"),
        ({"further": -1}, "further must be at least 0"),
    ],
)
def test_wrong_numbers_raise(numbers, message):
    with pytest.raises(ValueError, match=message):
        ClipRule(**numbers)
