from __future__ import annotations

import pickle
from collections.abc import Iterator
from itertools import islice

import numpy as np
import pytest

from segblocks.data.sample import VideoSample
from segblocks.data.synthetic import SyntheticWorld, world_config
from tests.data.synthetic.worlds import scene_of, tiny_world


def videos() -> Iterator[VideoSample]:
    for preset in ("tiny", "hard", "refvos"):
        world = tiny_world(21, preset, num_frames=10)
        yield from (world[i] for i in range(5))


def equal(one: VideoSample, two: VideoSample) -> bool:
    same = (one.name, one.objects, one.expressions, one.points, one.hint_frames) == (
        two.name, two.objects, two.expressions, two.points, two.hint_frames,
    )  # fmt: skip
    for t in range(one.num_frames):
        a, b = one.read_truth(t), two.read_truth(t)
        same &= a.ids == b.ids and np.array_equal(a.masks, b.masks)
        same &= np.array_equal(a.semantic, b.semantic)  # type: ignore[arg-type]
        same &= np.array_equal(one.read_frame(t), two.read_frame(t))
    return same


def test_a_video_depends_on_seed_and_index_alone() -> None:
    world = tiny_world(5)
    first = world[3]
    assert equal(first, tiny_world(5)[3])
    list(islice(world, 2))
    assert equal(first, world[np.int64(3)])
    for other in (world[4], tiny_world(6)[3]):
        assert not np.array_equal(first.read_frame(0), other.read_frame(0))


def test_samples_and_worlds_travel() -> None:
    world = SyntheticWorld(world_config("tiny"), 7, length=9, task="refvos")
    sample = world[2]
    sample.read_frame(1)
    packed = pickle.dumps(sample)
    assert len(packed) < 30_000
    assert equal(pickle.loads(packed), sample)
    again = pickle.loads(pickle.dumps(world))
    assert (len(again), again.task, again.names) == (9, "refvos", world.names)
    assert equal(again[2], sample)


def test_ends_and_endlessness() -> None:
    endless = tiny_world()
    assert endless[10**9].read_frame(0).shape == (48, 64, 3)
    with pytest.raises(TypeError, match="endless"):
        len(endless)
    with pytest.raises(IndexError, match=r"videos are numbered from 0 on, got -1$"):
        endless[-1]
    short = SyntheticWorld(world_config("tiny"), length=2)
    assert [s.name for s in short] == list(short.names) == [short[0].name, short[1].name]
    assert len(set(short.names)) == 2
    with pytest.raises(IndexError, match=r"videos are numbered from 0 to 1, got 2$"):
        short[2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"seed": -1}, "seed"), ({"length": -1}, "length"), ({"task": "vos2"}, "task must be one of")],
)
def test_wrong_arguments_are_named(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SyntheticWorld(world_config("tiny"), **arguments)


def test_ids_labels_and_hints_hold_over_the_video() -> None:
    for sample in videos():
        declared = [o.id for o in sample.objects]
        assert declared == list(range(1, len(declared) + 1))
        seen: dict[int, int] = {}
        for t in sample.annotated:
            truth = sample.read_truth(t)
            assert list(truth.ids) == sorted(set(truth.ids))
            for number in truth.ids:
                seen.setdefault(number, t)
        # Every declared object is seen, and its hint is where it is seen first.
        assert dict(sample.hint_frames) == seen
        assert set(seen) == set(declared)
        looks = {thing.id: thing.look for thing in scene_of(sample).things if thing.id}
        assert sample.vocabulary is not None
        for info in sample.objects:
            assert info.label is not None
            assert sample.vocabulary.classes[info.label] == looks[info.id].shape
            assert info.attributes["color"] == looks[info.id].color


def test_points_lie_inside_what_is_visible() -> None:
    for sample in videos():
        asked = [number for points in sample.points.values() for number in points]
        assert sorted(asked) == [o.id for o in sample.objects]
        for t, points in sample.points.items():
            truth = sample.read_truth(t)
            for number, (x, y) in points.items():
                assert sample.hint_frames[number] == t
                assert truth.masks[truth.ids.index(number)][int(y), int(x)]


def test_hidden_things_have_no_mask_and_keep_their_id() -> None:
    world = tiny_world(12, "hard", num_frames=12, size=(48, 80))
    returned = 0
    for index in range(10):
        sample = world[index]
        seen = [sample.read_truth(t).ids for t in range(12)]
        for info in sample.objects:
            there = [info.id in ids for ids in seen]
            first, last = there.index(True), 11 - there[::-1].index(True)
            returned += not all(there[first : last + 1])
    assert returned > 5
