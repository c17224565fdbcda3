"""Composite videos: exact masks under occlusion, constant ids, the same every time."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segblocks.data.clips import ClipDataset, ClipRule, ClipSource, CompositeVideos
from segblocks.data.sample import ObjectInfo, Truth, VideoSample
from segblocks.data.sampler import Draw
from segblocks.data.synthetic import SyntheticWorld, world_config
from segblocks.text.vocabulary import Vocabulary
from tests.data.clips.made_videos import STREET, Made

SIZE = (60, 80)
CALM = {"travel": 0.0, "turn": 0.0, "scale_change": 1.0, "zoom": (1.0, 1.0), "pan": 0.0}


@dataclass(frozen=True)
class Flat:
    """A still of boxes, each painted in one colour, on one colour."""

    boxes: tuple[tuple[int, int, int, int], ...]
    colors: tuple[tuple[int, int, int], ...]
    ground: tuple[int, int, int] = (0, 0, 0)

    def read_frame(self, t: int) -> np.ndarray:
        frame = np.empty((*SIZE, 3), np.uint8)
        frame[:] = self.ground
        masks = self.read_truth(t).masks
        for mask, color in zip(masks, self.colors, strict=True):
            frame[mask] = color
        return frame

    def read_truth(self, t: int) -> Truth:
        masks = np.zeros((len(self.boxes), *SIZE), np.bool_)
        semantic = np.zeros(SIZE, np.int16)
        for mask, (top, left, bottom, right) in zip(masks, self.boxes, strict=True):
            mask[top:bottom, left:right] = True
            semantic[mask] = 1
        return Truth(tuple(range(5, 5 + len(masks))), masks, semantic)


def flat_still(
    boxes: Sequence[tuple[int, int, int, int]],
    colors: Sequence[tuple[int, int, int]],
    *,
    ground: tuple[int, int, int] = (0, 0, 0),
    crowds: Sequence[int] = (),
    labels: Sequence[int] | None = None,
    name: str = "flat",
) -> VideoSample:
    reader = Flat(tuple(boxes), tuple(colors), ground)
    labels = [1] * len(boxes) if labels is None else labels
    infos = tuple(ObjectInfo(i, label, i in crowds) for i, label in enumerate(labels, 5))
    return VideoSample(name, 1, SIZE, reader.read_frame, reader.read_truth, (0,), infos, STREET)


def world_stills(length: int = 6) -> SyntheticWorld:
    return SyntheticWorld(world_config("tiny", num_frames=1), length=length)


RED, GREEN = (255, 0, 0), (0, 255, 0)
# So that a colour is the opacity of what is painted in it.
FLAT = Made([flat_still([(10, 5, 40, 35), (15, 45, 50, 75)], [RED, GREEN])])
BLACK = Made([flat_still([], [], name="black")])


@settings(max_examples=40, deadline=None)
@given(index=st.integers(0, 5000))
def test_masks_are_what_is_seen(index):
    videos = CompositeVideos(
        FLAT, BLACK, size=(48, 64), colors=None, occlusion=1.0, num_objects=(2, 2)
    )
    video = videos[index]
    for t in range(3):
        frame, truth = video.read_frame(t).astype(float) / 255, video.read_truth(t)
        red, green = frame[..., 0], frame[..., 1]
        found = dict(zip(truth.ids, truth.masks, strict=True))
        none = np.zeros((48, 64), bool)
        # Which of the two was painted last is not said, but where both are seen one of these holds.
        orders = []
        for under, over in ((red, green), (green, red)):
            uncovered = under / np.maximum(1 - over, 1e-6)
            # Rounding to 8 bits, the more so under something.
            clear = (np.abs(over - 0.5) > 0.01) & (np.abs(uncovered - 0.5) > 0.02)
            top, below = over > 0.5, (over < 0.5) & (uncovered > 0.5)
            for names in ((1, 2), (2, 1)):
                parts = zip(names, (below, top), strict=True)
                orders.append(
                    all(np.array_equal(found.get(i, none) & clear, m & clear) for i, m in parts)
                )
        assert any(orders)
        assert not np.logical_and(found.get(1, none), found.get(2, none)).any()


def test_a_calm_object_keeps_its_shape():
    lone = Made([flat_still([(10, 5, 40, 25)], [RED])])
    one = {"num_objects": (1, 1), "object_size": (0.5, 0.5), **CALM}
    videos = CompositeVideos(lone, BLACK, size=SIZE, colors=None, **one)  # pyright: ignore[reportArgumentType]
    whole = 0
    for index in range(30):
        video = videos[index]
        masks = [video.read_truth(t).masks for t in range(3)]
        assert all(np.array_equal(mask, masks[0]) for mask in masks)
        rows, columns = (np.flatnonzero(masks[0][0].any(axis=k)) for k in (1, 0))
        if rows[0] > 0 and columns[0] > 0 and rows[-1] < 59 and columns[-1] < 79:
            whole += 1
            # A box of 30 by 20 pixels, whose longer side becomes half of 60.
            assert abs(len(rows) - 30) <= 1
            assert abs(len(columns) - 20) <= 1
            assert masks[0].sum() >= 0.97 * len(rows) * len(columns)
    assert whole > 3


def test_the_same_index_gives_the_same_video():
    videos, again = (CompositeVideos(world_stills(), size=(32, 48), seed=3) for _ in range(2))
    indices = [0, 4, 6, 100]
    forth = {i: videos[i] for i in indices}
    for i in reversed(indices):
        copy = pickle.loads(pickle.dumps(again))[i]
        assert copy.name == forth[i].name
        for t in range(3):
            assert np.array_equal(copy.read_frame(t), forth[i].read_frame(t))
            assert np.array_equal(copy.read_truth(t).masks, forth[i].read_truth(t).masks)
    # The same still, in another round and with another seed.
    other = CompositeVideos(world_stills(), size=(32, 48), seed=4)
    for index, maker in ((6, videos), (0, other)):
        assert not np.array_equal(forth[0].read_frame(0), maker[index].read_frame(0))


def test_samples_are_whole():
    videos = CompositeVideos(world_stills(), size=(32, 48), num_frames=4)
    assert (videos.task, videos.vocabulary, len(videos)) == ("vos", None, 6)
    seen = 0
    for index in range(12):
        video = videos[index]
        assert video.annotated == (0, 1, 2, 3)
        seen += len(video.objects)
        for info in video.objects:
            t = video.hint_frames[info.id]
            assert info.label is None
            assert all(info.id not in video.read_truth(s).ids for s in range(t))
            truth, (x, y) = video.read_truth(t), video.points[t][info.id]
            assert truth.masks[truth.ids.index(info.id), int(y), int(x)]
        ids = {i for t in range(4) for i in video.read_truth(t).ids}
        assert ids == {info.id for info in video.objects}
        for t in range(4):
            truth = video.read_truth(t)
            assert truth.semantic is None
            assert list(truth.ids) == sorted(truth.ids)
            assert truth.masks.any(axis=(1, 2)).all()
            assert truth.masks.sum(axis=0).max(initial=0) <= 1
    assert seen > 24


def test_objects_move_hide_each_other_and_leave():
    videos = CompositeVideos(world_stills(), size=(48, 64), num_objects=(3, 5), travel=1.0)
    moved, left = [], 0
    for index in range(15):
        video = videos[index]
        truths = [video.read_truth(t) for t in (0, 2)]
        first, last = (dict(zip(truth.ids, truth.masks, strict=True)) for truth in truths)
        left += len(first.keys() - last.keys())
        for i in first.keys() & last.keys():
            centers = [np.argwhere(masks[i]).mean(axis=0) for masks in (first, last)]
            moved.append(float(np.linalg.norm(centers[1] - centers[0])))
    assert left > 0
    assert np.median(moved) > 3
    assert max(moved) < 1.5 * 48


def test_twins_look_alike_and_go_their_own_ways():
    twins = CompositeVideos(FLAT, BLACK, size=SIZE, colors=None, twins=1.0, num_objects=(2, 2))
    apart = CompositeVideos(FLAT, BLACK, size=SIZE, colors=None, num_objects=(2, 2))
    places, colors = set(), {"twins": set(), "apart": set()}
    for index in range(6):
        for name, videos in (("twins", twins), ("apart", apart)):
            frame = videos[index].read_frame(0)
            colors[name].add(tuple(frame[..., :2].max(axis=(0, 1)) > 128))
        masks = twins[index].read_truth(0).masks
        places |= {tuple(np.argwhere(mask).mean(axis=0).round()) for mask in masks}
    assert colors["twins"] == {(True, False), (False, True)}
    assert (True, True) in colors["apart"]
    assert len(places) > 6


def test_the_background_can_be_kept():
    behind = Made([flat_still([(0, 0, 30, 80), (40, 10, 50, 20)], [RED] * 2, crowds=[6])])
    videos = CompositeVideos(FLAT, behind, size=SIZE, keep_background=True, num_objects=(1, 1))
    two = {"num_objects": (2, 2), **CALM}
    still = CompositeVideos(FLAT, behind, size=SIZE, keep_background=True, **two)  # pyright: ignore[reportArgumentType]
    assert (videos.task, videos.vocabulary) == ("vis", STREET)
    seen_crowds = 0
    for index in range(10):
        video = videos[index]
        assert video.vocabulary == STREET
        assert {info.label for info in video.objects} == {1}
        for t in range(3):
            truth = video.read_truth(t)
            assert truth.semantic is not None
            assert truth.masks.sum(axis=0).max() <= 1
            assert np.array_equal(truth.semantic == 1, truth.masks.any(axis=0))
        # What is not covered shows the still as it was.
        video = still[index]
        truth, original = video.read_truth(0), behind[0].read_truth(0)
        pasted = truth.masks[[i for i, n in enumerate(truth.ids) if n <= 2]].any(axis=0)
        assert truth.semantic is not None
        assert original.semantic is not None
        assert np.array_equal(truth.semantic[~pasted], original.semantic[~pasted])
        crowds = {info.id for info in video.objects if info.is_crowd}
        # Two are pasted, and the second of those behind is a crowd, unless it is covered.
        shown = {i for t in range(3) for i in video.read_truth(t).ids}
        assert crowds == shown & {4}
        seen_crowds += len(crowds)
        assert not crowds & video.hint_frames.keys()
    assert seen_crowds > 0


def test_crowds_stuff_and_small_objects_are_not_cut_out():
    boxes = [(0, 0, 20, 20), (20, 20, 40, 40), (40, 40, 60, 60), (50, 0, 52, 2)]
    colors = [RED, GREEN, (0, 0, 255), (255, 255, 255)]
    still = flat_still(boxes, colors, crowds=[6], labels=[1, 1, 0, 1])
    videos = CompositeVideos(Made([still]), BLACK, size=SIZE, colors=None, num_objects=(4, 4))
    for index in range(8):
        frames = [videos[index].read_frame(t) for t in range(3)]
        assert not np.stack(frames)[..., 1:].any()


def test_stills_without_objects_are_passed_over():
    empty = [replace(flat_still([], []), name=f"empty{i}") for i in range(3)]
    videos = CompositeVideos(Made([*empty, FLAT[0]]), size=SIZE)
    assert videos[0].objects
    with pytest.raises(ValueError, match="made: 50 stills in a row had no object that fills"):
        CompositeVideos(BLACK)[0]


def test_clips_are_made_of_composites():
    videos = CompositeVideos(world_stills(), size=(32, 48))
    dataset = ClipDataset([ClipSource(videos, ClipRule(), tasks={"vos": 1.0, "pet": 1.0})])
    for video in range(6):
        clips = [dataset[Draw(0, video, task, 2)] for task in ("vos", "pet")]
        assert all(clip.frame_indices == (0, 1, 2) for clip in clips)
        assert all(len(clip.masks) == len(clip.object_ids) > 0 for clip in clips)
    kept = CompositeVideos(world_stills(), size=(32, 48), keep_background=True)
    clip = ClipDataset([ClipSource(kept, tasks={"vps": 1.0})])[Draw(0, 1, "vps", 0)]
    assert clip.labels is not None
    assert clip.semantic is not None
    for label, mask in zip(clip.labels, clip.masks, strict=True):
        assert (clip.semantic[mask] == label).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_frames": 0}, "num_frames and size must be at least 1"),
        ({"num_objects": (3, 2)}, "num_objects must be positive and ascending"),
        ({"object_size": (0.0, 0.5)}, "object_size"),
        ({"twins": 1.5}, r"twins must lie in \[0, 1\], got 1.5"),
        ({"zoom": (0.5, 1.2)}, "zoom must be at most 1"),
        ({"scale_change": 0.5}, "scale_change at least 1"),
        ({"num_objects": (1, 300)}, "num_objects at most 255"),
    ],
)
def test_wrong_options_raise(options, message):
    with pytest.raises(ValueError, match=message):
        CompositeVideos(FLAT, **options)


def test_other_errors():
    with pytest.raises(IndexError, match="must be 0 or more, got -1"):
        CompositeVideos(FLAT)[-1]
    with pytest.raises(TypeError, match="never ends"):
        iter(CompositeVideos(FLAT))  # pyright: ignore[reportArgumentType, reportCallIssue]
    other = Made([flat_still([], [])], Vocabulary("other", ("road",)))
    with pytest.raises(ValueError, match="same classes"):
        CompositeVideos(FLAT, other, keep_background=True)
