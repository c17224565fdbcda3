"""Pseudo-videos: exact masks, constant ids, ignored borders, the same every time."""

from __future__ import annotations

import os
import pickle
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from segblocks.data.coco import COCOInstancesDataset, COCOPanopticDataset
from segblocks.data.frame_transform import RandomPose
from segblocks.data.indexed import IndexedVideos
from segblocks.data.pseudo_video import PseudoVideos
from segblocks.data.sample import IGNORE, ObjectInfo, Truth, VideoSample
from tests.data.made_panoptic import STREET

SIZE = (96, 128)
# An object, or 0 for the road, and the colour in which it is painted.
COLORS = {1: (250, 20, 30), 70000: (10, 240, 40), 3: (30, 60, 250), 0: (90, 90, 90)}


class Stills(IndexedVideos):
    """A dataset of the stills that it is given."""

    def __init__(self, samples: list[VideoSample]) -> None:
        super().__init__("made", "vps", (sample.name for sample in samples), STREET)
        self.samples = samples

    def _read(self, index: int) -> VideoSample:
        return self.samples[index]


@dataclass(frozen=True)
class Painted:
    """A picture that shows its own annotation in flat colours."""

    truth: Truth

    def read_frame(self, t: int) -> np.ndarray:
        picture = np.zeros((*SIZE, 3), np.uint8)
        picture[:] = COLORS[0]
        for identity, mask in zip(self.truth.ids, self.truth.masks, strict=True):
            picture[mask] = COLORS[identity]
        return picture

    def read_truth(self, t: int) -> Truth:
        return self.truth


def painted_still(name: str = "still", ids: tuple[int, ...] = (1, 3, 70000)) -> VideoSample:
    boxes = {1: (10, 20, 50, 70), 3: (40, 75, 80, 120), 70000: (60, 5, 90, 60)}
    masks = np.zeros((len(ids), *SIZE), np.bool_)
    semantic = np.zeros(SIZE, np.int16)
    for mask, identity in zip(masks, ids, strict=True):
        top, left, bottom, right = boxes[identity]
        mask[top:bottom, left:right] = True
        semantic[mask] = 1 if identity != 3 else 3
    objects = tuple(ObjectInfo(i, 1 if i != 3 else 3, is_crowd=i == 3) for i in ids)
    source = Painted(Truth(ids, masks, semantic))
    return VideoSample(
        name, 1, SIZE, source.read_frame, source.read_truth, (0,), objects, STREET
    )  # fmt: skip


def test_a_picture_that_shows_its_masks_agrees_with_them() -> None:
    videos = PseudoVideos(
        Stills([painted_still()]), pose=RandomPose((80, 80)), colors=None, num_frames=4, seed=5
    )
    seen = set()
    for index in range(12):
        video = videos[index]
        assert (video.num_frames, video.size, video.annotated) == (4, (80, 80), (0, 1, 2, 3))
        for t in range(4):
            frame, truth = video.read_frame(t).astype(int), video.read_truth(t)
            assert truth.semantic is not None
            assert truth.ignore is not None
            assert list(truth.ids) == sorted(truth.ids)
            layers = dict(zip(truth.ids, truth.masks, strict=True))
            layers[0] = ~truth.ignore & ~truth.masks.any(axis=0)
            for key, mask in layers.items():
                # Away from borders, where pictures mix colours, both say the same of each pixel.
                inner = ndimage.binary_erosion(mask, iterations=4)
                assert (np.abs(frame[inner] - COLORS[key]) <= 1).all()
                same = (np.abs(frame - COLORS[key]) <= 1).all(axis=-1)
                assert mask[ndimage.binary_erosion(same, iterations=1)].all()
                seen.add(key)
            np.testing.assert_array_equal(truth.semantic == IGNORE, truth.ignore)
            black = (frame == 0).all(axis=-1)
            assert truth.ignore[black].all()
            assert black[ndimage.binary_erosion(truth.ignore, iterations=4)].all()
            for info in video.objects:
                if info.id in truth.ids:
                    assert (truth.semantic[layers[info.id]] == info.label).all()
    assert seen == {*COLORS}


def test_ids_stay_and_unseen_objects_are_left_out() -> None:
    pose = RandomPose((24, 24), short_sides=(96,))
    videos = PseudoVideos(Stills([painted_still()]), pose=pose, seed=1)
    late = 0
    for index in range(30):
        video = videos[index]
        shown = {i: [t for t in range(3) if i in video.read_truth(t).ids] for i in COLORS}
        assert [info.id for info in video.objects] == [i for i in (1, 3, 70000) if shown[i]]
        # A crowd is no object that one may point at.
        assert video.hint_frames == {i: shown[i][0] for i in (1, 70000) if shown[i]}
        assert sum(map(len, video.points.values())) == len(video.hint_frames)
        for t, points in video.points.items():
            truth = video.read_truth(t)
            for identity, (x, y) in points.items():
                assert video.hint_frames[identity] == t
                assert truth.masks[truth.ids.index(identity), int(y), int(x)]
        late += any(t > 0 for t in video.hint_frames.values())
    assert late > 0


def test_the_same_every_time_and_in_every_worker() -> None:
    videos = PseudoVideos(
        Stills([painted_still("a"), painted_still("b")]), pose=RandomPose((64, 64))
    )
    for index in (0, 3, 1001):
        first, again = videos[index], pickle.loads(pickle.dumps(videos))[index]
        again = pickle.loads(pickle.dumps(again))
        assert first.name == again.name == f"{'ab'[index % 2]}_{index}"
        assert (first.objects, first.points) == (again.objects, again.points)
        for t in range(3):
            np.testing.assert_array_equal(first.read_frame(t), again.read_frame(t))
            np.testing.assert_array_equal(first.read_truth(t).masks, again.read_truth(t).masks)
    assert (videos[0].read_frame(0) != videos[2].read_frame(0)).any()
    other = PseudoVideos(videos.stills, pose=RandomPose((64, 64)), seed=1)
    assert (videos[0].read_frame(0) != other[0].read_frame(0)).any()
    assert (videos[0].read_frame(0) != videos[0].read_frame(1)).any()


def test_colours_and_mirror_are_one_for_the_clip() -> None:
    still = PseudoVideos(
        Stills([painted_still()]),
        pose=RandomPose(SIZE, scale=(1, 1), angle=0, shear=0, short_sides=(96,)),
        num_frames=2,
    )
    original = painted_still().read_truth(0)
    mirrored = 0
    for index in range(40):
        first, second = still[index].read_frame(0), still[index].read_frame(1)
        np.testing.assert_array_equal(first, second)
        masks = still[index].read_truth(0).masks
        flipped = (masks[0] != original.masks[0]).any()
        expected = original.masks[:, :, ::-1] if flipped else original.masks
        np.testing.assert_array_equal(masks, expected)
        mirrored += flipped
    assert 10 < mirrored < 30
    assert len({tuple(still[i].read_frame(0)[45, 64]) for i in range(10)}) > 5


def test_stills_without_objects_give_way() -> None:
    empty = painted_still("empty", ids=())
    crowd = painted_still("crowd", ids=(3,))
    bare = replace(painted_still("bare"), annotated=())
    pose = RandomPose((64, 64))
    videos = PseudoVideos(Stills([empty, painted_still("full"), crowd, bare]), pose=pose)
    assert {videos[i].name.split("_")[0] for i in range(8)} == {"full"}
    anything = PseudoVideos(Stills([empty, crowd]), pose=pose, min_objects=0)
    assert anything[0].objects == ()
    assert anything[0].read_truth(0).masks.shape == (0, 64, 64)
    assert [info.is_crowd for info in anything[1].objects] == [True]
    with pytest.raises(ValueError, match="stills in a row showed fewer than 1 objects"):
        PseudoVideos(Stills([empty]), pose=pose)[0]


def test_large_stills_are_shrunk_first() -> None:
    videos = PseudoVideos(
        Stills([painted_still()]),
        pose=RandomPose((48, 64), scale=(1, 1), angle=0, shear=0, short_sides=(48,)),
        first_resize=(48, 1333),
        colors=None,
        flip=0,
    )
    truth = videos[0].read_truth(0)
    np.testing.assert_array_equal(truth.masks, painted_still().read_truth(0).masks[:, 1::2, 1::2])
    assert (videos[0].read_frame(0)[7:23, 12:33] == COLORS[1]).all()


def test_overlapping_masks_and_what_the_still_ignores() -> None:
    masks = np.ones((2, *SIZE), np.bool_)
    ignore = np.zeros(SIZE, np.bool_)
    ignore[:48] = True
    still = replace(
        painted_still(),
        read_truth=lambda t: Truth((1, 3), masks, None, ignore),
        objects=(ObjectInfo(1, 1), ObjectInfo(3, 3)),
    )
    pose = RandomPose(SIZE, scale=(0.5, 0.5), angle=0, shear=0, short_sides=(96,))
    truth = PseudoVideos(Stills([still]), pose=pose)[0].read_truth(0)
    assert truth.semantic is None
    assert truth.ignore is not None
    expected = np.zeros(SIZE, np.bool_)
    expected[24:72, 32:96] = True
    np.testing.assert_array_equal(truth.masks, np.stack([expected, expected]))
    expected[:48] = False
    np.testing.assert_array_equal(~truth.ignore, expected)


def test_errors() -> None:
    with pytest.raises(ValueError, match="at least one still and one frame, got 0 and 3"):
        PseudoVideos(Stills([]))
    with pytest.raises(ValueError, match="got 1 and 0"):
        PseudoVideos(Stills([painted_still()]), num_frames=0)
    videos = PseudoVideos(Stills([painted_still()]))
    with pytest.raises(IndexError, match="must be 0 or more, got -1"):
        videos[-1]
    with pytest.raises(TypeError, match="pseudo_made never ends"):
        iter(videos)
    assert (len(videos), videos.task, videos.vocabulary, videos.names) == (
        1, "vps", STREET, ("still",)
    )  # fmt: skip


@pytest.mark.data
@pytest.mark.skipif("SEGBLOCKS_DATA" not in os.environ, reason="needs SEGBLOCKS_DATA")
def test_real_stills() -> None:
    root = Path(os.environ["SEGBLOCKS_DATA"]) / "stills"
    panoptic = COCOPanopticDataset(root)
    videos = PseudoVideos(panoptic, pose=RandomPose((256, 256)))
    for index in (0, 25, 63):
        video = videos[index]
        truth = video.read_truth(2)
        assert video.read_frame(2).shape == (256, 256, 3)
        assert truth.semantic is not None
        assert truth.masks.sum(axis=0).max() <= 1
        for identity, mask in zip(truth.ids, truth.masks, strict=True):
            (info,) = [info for info in video.objects if info.id == identity]
            assert (truth.semantic[mask] == info.label).all()
    persons = PseudoVideos(COCOInstancesDataset(root, file="val/person.json"))[3]
    assert persons.hint_frames == {1: 0}
