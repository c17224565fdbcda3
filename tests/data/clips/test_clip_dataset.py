"""A clip depends on the seed and the draw alone, and answers what it asks."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from segblocks.data.clips import ClipDataset, ClipRule, ClipSource, ClipTransform, TrainingClip
from segblocks.data.clips.clip_rule import CLIP_TASKS
from segblocks.data.frame_transform import RandomPose
from segblocks.data.pseudo_video import PseudoVideos
from segblocks.data.sample import Expression
from segblocks.data.sampler import Draw, MixtureSampler
from segblocks.data.synthetic import SyntheticWorld, world_config
from segblocks.tasks import HintTask, RefVOS
from tests.data.clips.made_videos import SIZE, STREET, Made, box_slices, boxes_video, moving_boxes

BOX = (5, 5, 15, 15)
EVERYTHING = dict.fromkeys(CLIP_TASKS, 1.0)
PLAIN = ClipTransform(flip=0.0, colors=None)


def clips_of(*samples, rule=None, transform=PLAIN, tasks=None, seed=0) -> ClipDataset:
    rule = ClipRule() if rule is None else rule
    tasks = EVERYTHING if tasks is None else tasks
    return ClipDataset([ClipSource(Made(samples), rule, transform, tasks=tasks)], seed)


def same(first: TrainingClip, second: TrainingClip) -> bool:
    """Whether all tensors, hints and names agree."""
    for name in ("frames", "masks", "labels", "semantic", "ignore"):
        a, b = getattr(first, name), getattr(second, name)
        if (a is None) != (b is None) or (a is not None and not torch.equal(a, b)):
            return False
    for a, b in zip(first.tasks, second.tasks, strict=True):
        if isinstance(a, HintTask) and isinstance(b, HintTask):
            pairs = zip(a.hints.values(), b.hints.values(), strict=True)
            if not all(np.array_equal(x.values, y.values) and x.ids == y.ids for x, y in pairs):
                return False
    names = ("name", "frame_indices", "seed", "object_ids", "task", "vocabulary")
    return all(getattr(first, name) == getattr(second, name) for name in names)


def world_clips(seed: int = 0) -> ClipDataset:
    config = world_config("tiny", num_frames=6)
    world = SyntheticWorld(config, length=9)
    stills = SyntheticWorld(replace(config, num_frames=1), length=7)
    transform = ClipTransform(short_sides=(32, 40), crop=(0.75, 0.75))
    tasks: dict[str, float] = dict.fromkeys(("vis", "vps", "vss", "vos", "pet", "evs"), 1.0)
    return ClipDataset(
        [
            ClipSource(world, ClipRule(), transform, 2.0, tasks),
            ClipSource(PseudoVideos(stills, pose=RandomPose((32, 48))), tasks={"vps": 1.0}),
        ],
        seed,
    )


def sampled(dataset: ClipDataset, workers: int, rank: int = 0, world_size: int = 1):
    sampler = MixtureSampler(
        dataset.sources_for_sampler(),
        batch_size=4 // world_size,
        num_iterations=6,
        chunk=2,
        rank=rank,
        world_size=world_size,
    )
    return list(DataLoader(dataset, batch_sampler=sampler, collate_fn=list, num_workers=workers))


def test_workers_and_ranks_do_not_matter():
    dataset = world_clips()
    alone = sampled(dataset, 0)
    assert len({clip.task for batch in alone for clip in batch}) > 1
    for first, second in zip(alone, sampled(dataset, 2), strict=True):
        assert all(map(same, first, second))
    ranks = [sampled(dataset, 0, rank, 2) for rank in range(2)]
    for batch, *parts in zip(alone, *ranks, strict=True):
        spread = [clip for pair in zip(*parts, strict=True) for clip in pair]
        assert all(map(same, batch, spread))


def test_order_does_not_matter():
    draws = [Draw(0, video, "vos", repeat) for video in range(3) for repeat in range(2)]
    forth = {draw: world_clips()[draw] for draw in draws}
    dataset = world_clips()
    for draw in reversed(draws):
        assert same(dataset[draw], forth[draw])
    assert not same(forth[draws[0]], forth[draws[1]])
    assert not same(forth[draws[0]], world_clips(seed=1)[draws[0]])


def test_the_seed_names_run_and_draw():
    clip = clips_of(moving_boxes(), moving_boxes(name="b"), seed=7)[Draw(0, 1, "vis", 5)]
    assert clip.seed == (7, 0, 1, 5)


@pytest.mark.parametrize("task", CLIP_TASKS)
def test_clips_of_every_task(task):
    expressions = [Expression("0", "it", (2,)), Expression("1", "both", (1, 3))]
    video = moving_boxes(expressions=expressions, labels={1: 2})
    clip = clips_of(video)[Draw(0, 0, task, 0)]
    assert clip.name == "boxes"
    assert clip.frames.shape == (3, 3, *SIZE)
    assert clip.frames.dtype == torch.uint8
    assert clip.frames[:, 2, 0, 0].tolist() == list(clip.frame_indices)
    assert clip.vocabulary == STREET
    by_class = task in ("vis", "vps", "vss")
    assert (clip.semantic is not None) == by_class
    truths = [video.read_truth(t) for t in clip.frame_indices]
    if by_class:
        assert clip.semantic is not None
        assert clip.semantic.dtype == torch.int64
        assert np.array_equal(clip.semantic, np.array([truth.semantic for truth in truths]))
        assert clip.object_ids == (() if task == "vss" else (1, 2, 3))
    expected = np.stack([truth.masks for truth in truths], axis=1)
    if task == "refvos":
        assert isinstance(clip.tasks[0], RefVOS)
        answers = {"it": expected[1], "both": expected[0] | expected[2]}
        for text, mask in zip(clip.tasks[0].expressions, clip.masks, strict=True):
            assert np.array_equal(mask, answers[text])
        assert clip.labels is None
        return
    assert clip.labels is not None
    assert clip.labels.tolist() == [{1: 2}.get(i, 1) for i in clip.object_ids]
    for identity, mask in zip(clip.object_ids, clip.masks, strict=True):
        assert np.array_equal(mask, expected[identity - 1])


@pytest.mark.parametrize("seed", range(4))
def test_hints_are_those_of_the_answer(seed):
    dataset = world_clips(seed)
    for video in range(3):
        clip = dataset[Draw(0, video, "vos", 0)]
        assert clip.masks[:, 0].any(dim=(1, 2)).all()
        masks = dict(zip(clip.object_ids, clip.masks[:, 0], strict=True))
        for task in clip.tasks:
            assert isinstance(task, HintTask)
            assert list(task.hints) == [0]
            task.validate(*clip.frames.shape[-2:])
            hints = task.hints[0]
            for value, identity in zip(hints.values, hints.ids, strict=True):
                if hints.kind == "mask":
                    assert np.array_equal(masks[identity], value)
                else:
                    assert masks[identity][int(value[1]), int(value[0])]


def test_what_resizing_removes_is_not_asked_for():
    boxes = {1: dict.fromkeys(range(3), (2, 2, 40, 40)), 2: dict.fromkeys(range(3), (0, 50, 1, 51))}
    transform = ClipTransform(short_sides=(6,), flip=0.0, colors=None)
    dataset = clips_of(boxes_video(boxes, 3), transform=transform)
    for task in ("vis", "vos"):
        assert dataset[Draw(0, 0, task, 0)].object_ids == (1,)


def test_crowds_are_ignored_where_objects_are_asked_for_by_class():
    boxes = {1: dict.fromkeys(range(3), BOX), 2: dict.fromkeys(range(3), (20, 20, 30, 30))}
    dataset = clips_of(boxes_video(boxes, 3, crowds=[2], ignored=(40, 0, 48, 9)))
    stated, crowd = np.zeros(SIZE, bool), np.zeros(SIZE, bool)
    stated[40:48, :9] = True
    crowd[box_slices((20, 20, 30, 30))] = True
    for task, expected in (("vis", stated | crowd), ("vps", stated), ("vos", stated)):
        clip = dataset[Draw(0, 0, task, 0)]
        assert clip.ignore is not None
        assert (clip.ignore.numpy() == expected).all()
        assert len(clip.masks) == 1
    assert clips_of(moving_boxes())[Draw(0, 0, "vis", 0)].ignore is None


def test_a_video_with_nothing_is_replaced_by_another():
    videos = [boxes_video({}, 4, name=f"empty{i}") for i in range(5)]
    dataset = clips_of(*videos, moving_boxes(name="full"))
    for video in range(5):
        clip = dataset[Draw(0, video, "vos", 0)]
        assert clip.name == "full"
        assert clip.seed == (0, 0, video, 0)
        assert same(clip, dataset[Draw(0, video, "vos", 0)])


def test_a_dataset_with_nothing_is_an_error():
    dataset = clips_of(boxes_video({}, 4, name="empty"), rule=ClipRule(reach=5))
    message = (
        r"made: 20 videos .* 'vis', which needs 3 annotated .* 'empty' was .* under ClipRule\(.*5"
    )
    with pytest.raises(ValueError, match=message):
        dataset[Draw(0, 0, "vis", 0)]
    assert len(dataset[Draw(0, 0, "vss", 0)].masks) == 0


@pytest.mark.parametrize("task", ["vps", "vss"])
def test_missing_semantic_maps_are_an_error(task):
    dataset = clips_of(moving_boxes(has_semantic=False))
    with pytest.raises(ValueError, match=f"'boxes': has no semantic maps, .* '{task}'"):
        dataset[Draw(0, 0, task, 0)]
    assert dataset[Draw(0, 0, "vis", 0)].semantic is None


def test_endless_datasets_go_on():
    stills = SyntheticWorld(world_config("tiny", num_frames=1), length=3)
    pseudo = ClipSource(PseudoVideos(stills), tasks={"vis": 1.0})
    endless = SyntheticWorld(world_config("tiny"))
    world = ClipSource(endless, tasks={"vis": 1.0}, length=10)
    finite = ClipSource(stills, tasks={"vis": 1.0})
    assert [source.index(2, 4) for source in (pseudo, world, finite)] == [14, 42, 2]
    assert [s.length for s in ClipDataset([pseudo, world]).sources_for_sampler()] == [3, 10]
    assert ClipDataset([world])[Draw(0, 2, "vis", 4)].name == endless[42].name


def test_clips_can_be_moved_and_pickled():
    clip = clips_of(moving_boxes())[Draw(0, 0, "vps", 0)]
    assert same(pickle.loads(pickle.dumps(clip)), clip)
    moved = clip.to("meta")
    assert moved.frames.is_meta
    assert moved.masks.is_meta
    assert moved.ignore is None
    assert moved.name == clip.name


def test_wrong_sources_raise():
    dataset = Made([moving_boxes()])
    with pytest.raises(ValueError, match=r"ClipSource made: tasks must be of .*got \['viz'\]"):
        ClipSource(dataset, tasks={"viz": 1.0})
    with pytest.raises(ValueError, match=r"made: the dataset has no classes, which \['vis'\]"):
        ClipSource(Made([moving_boxes()], None), tasks={"vis": 1.0, "vos": 1.0})
    with pytest.raises(ValueError, match="must be positive"):
        ClipSource(dataset, weight=0.0, tasks={"vis": 1.0})
    with pytest.raises(ValueError, match="got 0 and 0"):
        ClipDataset([])
