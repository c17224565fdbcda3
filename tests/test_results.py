from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from segblocks.results import (
    FrameResult,
    TrackSummary,
    VideoSegmentation,
    VideoSegmentationBuilder,
)
from segblocks.tasks import VIS, VOS, VPS, RefVOS, Task
from segblocks.text.vocabulary import Vocabulary

STREET = Vocabulary("street", ("road", "sky", "car", "person"), things={2, 3})
SIZE = (6, 9)
NUM_FRAMES = 5


def video_masks(num: int, seed: int = 0) -> np.ndarray:
    masks = np.random.default_rng(seed).random((num, NUM_FRAMES, *SIZE)) < 0.3
    masks[:, 2] = False
    return masks


def collect(
    task: Task,
    masks: np.ndarray,
    ids: tuple[int, ...],
    summaries: list[TrackSummary],
    semantic: np.ndarray | None = None,
    **kwargs,
) -> VideoSegmentation:
    vocabulary = None if isinstance(task, VOS | RefVOS) else STREET
    builder = VideoSegmentationBuilder(SIZE, task, vocabulary, **kwargs)
    for t in range(NUM_FRAMES):
        nothing = (None,) * len(ids)
        maps = None if semantic is None else semantic[t]
        builder.add(FrameResult(t, ids, masks[:, t], nothing, nothing, maps, vocabulary))
    return builder.finish(NUM_FRAMES, summaries)


def vis_result(**kwargs) -> VideoSegmentation:
    summaries = [
        TrackSummary(4, 2, 0.4, np.array([0.1, 0.2, 0.4, 0.3])),
        TrackSummary(9, 3, 0.8),
        TrackSummary(2, 2, 0.6),
    ]
    return collect(VIS(STREET), video_masks(4), (4, 2, 9, 7), summaries, **kwargs)


def vps_result() -> VideoSegmentation:
    semantic = np.random.default_rng(1).integers(0, 2, (NUM_FRAMES, *SIZE), dtype=np.int32)
    return collect(
        VPS(STREET), video_masks(2), (1, 2), [TrackSummary(1, 2, 0.7), TrackSummary(2, 0, 0.9)],
        semantic,
    )  # fmt: skip


def test_masks_come_back_exactly():
    masks = video_masks(4)
    result = vis_result()
    for track_id, expected in zip((4, 2, 9), masks, strict=False):
        track = result.track(track_id)
        np.testing.assert_array_equal(track.masks(), expected)
        for t in range(NUM_FRAMES):
            assert track.mask(t).dtype == np.bool_
            np.testing.assert_array_equal(track.mask(t), expected[t])
        assert track.frames == (0, 1, 3, 4)


def test_category_tracks_go_by_score_and_those_not_summarised_are_dropped():
    result = vis_result()
    assert [(t.id, t.label, t.score) for t in result.tracks] == [
        (9, "person", 0.8),
        (2, "car", 0.6),
        (4, "car", 0.4),
    ]
    np.testing.assert_array_equal(result.track(4).class_scores, [0.1, 0.2, 0.4, 0.3])
    with pytest.raises(KeyError, match=r"no track 7; there are \[9, 2, 4\]"):
        result.track(7)


def test_hinted_tracks_go_by_hint_and_are_there_even_when_empty():
    hint = np.ones((3, *SIZE), dtype=bool)
    task = VOS(hint, ids=[8, 3, 5])
    masks = video_masks(2)
    result = collect(task, masks, (3, 8), [TrackSummary(3, None, 0.5)])
    assert [t.id for t in result.tracks] == [8, 3, 5]
    assert [t.score for t in result.tracks] == [None, 0.5, None]
    np.testing.assert_array_equal(result.tracks[0].masks(), masks[1])
    assert not result.tracks[2].masks().any()
    assert result.tracks[2].frames == ()


def test_expressions_name_their_tracks():
    task = RefVOS(["the red car", "the dog"])
    result = collect(task, video_masks(1), (2,), [])
    assert [(t.id, t.label) for t in result.tracks] == [(1, "the red car"), (2, "the dog")]


def test_semantic_and_panoptic_maps():
    semantic = np.random.default_rng(1).integers(0, 2, (NUM_FRAMES, *SIZE), dtype=np.int32)
    masks = video_masks(2)
    result = vps_result()
    assert result.has_semantic
    for t in range(NUM_FRAMES):
        assert result.semantic(t).dtype == np.int32
        np.testing.assert_array_equal(result.semantic(t), semantic[t])
        ids, segments = result.panoptic(t)
        np.testing.assert_array_equal(ids, np.where(masks[0, t], 5, semantic[t] + 1))
        things = [s for s in segments if s.is_thing]
        assert [(s.id, s.track_id, s.score) for s in things] == ([] if t == 2 else [(5, 1, 0.7)])


def test_a_frame_shows_what_is_seen_with_final_labels():
    result = vis_result()
    frame = result.frame(3)
    assert frame.ids == (9, 2, 4)
    assert frame.labels == ("person", "car", "car")
    np.testing.assert_array_equal(frame.masks[1], video_masks(4)[1, 3])
    assert result.frame(2).ids == ()
    assert result.frame(2).masks.shape == (0, *SIZE)


def test_vis_has_no_maps():
    result = vis_result()
    assert not result.has_semantic
    with pytest.raises(ValueError, match="only VPS and VSS give one, this is vis"):
        result.semantic(0)
    with pytest.raises(ValueError, match="no semantic map"):
        result.panoptic(0)


@pytest.mark.parametrize("t", [-1, NUM_FRAMES])
def test_frames_outside_the_video_raise(t):
    result = vps_result()
    for method in (result.semantic, result.panoptic, result.frame, result.tracks[0].mask):
        with pytest.raises(IndexError, match="0 to 4"):
            method(t)


def test_filter_returns_a_new_result():
    result = vis_result()
    assert [t.id for t in result.filter(min_score=0.6).tracks] == [9, 2]
    assert [t.id for t in result.filter(labels=["car"]).tracks] == [2, 4]
    assert [t.id for t in result.filter(labels={"car"}, min_score=0.5).tracks] == [2]
    assert result.filter(labels=[]).tracks == ()
    assert len(result.tracks) == 3
    with pytest.raises(ValueError, match="did you mean 'car'"):
        result.filter(labels=["cars"])
    with pytest.raises(TypeError, match="list of class names"):
        result.filter(labels="car")


def test_filter_keeps_tracks_without_a_score():
    result = collect(VOS(np.ones((1, *SIZE), dtype=bool)), video_masks(1), (1,), [])
    assert len(result.filter(min_score=0.9).tracks) == 1


def test_save_calls_the_writer():
    calls = []

    def writer(result, path, *, overlay):
        calls.append((result, path, overlay))
        return "written"

    result = vis_result(writer=writer, source="street.mp4")
    assert result.save("out", overlay=True) == "written"
    filtered = result.filter(min_score=0.6)
    filtered.save(Path("out"))
    assert calls == [(result, Path("out"), True), (filtered, Path("out"), False)]
    assert filtered.source == "street.mp4"
    with pytest.raises(ValueError, match="no writer"):
        vis_result().save("out")


def test_frames_must_fit_and_come_in_order():
    builder = VideoSegmentationBuilder(SIZE, VIS(STREET), STREET)
    with pytest.raises(ValueError, match=r"size \(6, 9\), got \(6, 8\)"):
        builder.add(FrameResult(0, (), np.zeros((0, 6, 8), dtype=bool), (), ()))
    empty = np.zeros((0, *SIZE), dtype=bool)
    builder.add(FrameResult(3, (), empty, (), ()))
    with pytest.raises(ValueError, match="got 3 after 3"):
        builder.add(FrameResult(3, (), empty, (), ()))
    with pytest.raises(ValueError, match="above 3, got 3"):
        builder.finish(3)
    assert builder.finish(10).num_frames == 10


def test_reprs_are_short():
    assert repr(vis_result()) == (
        "VideoSegmentation(vis: 5 frames of 6x9; 3 tracks: 2 car, 1 person)"
    )
    assert "semantic maps; 2 tracks" in repr(vps_result())
    assert repr(vis_result().tracks[0]) == "Track(9, 'person', score=0.80, in 4 of 5 frames)"


def test_memory_is_that_of_run_lengths():
    height, width = 480, 854
    y, x = np.mgrid[:height, :width]
    builder = VideoSegmentationBuilder((height, width), VPS(STREET), STREET)
    semantic = (x // 300).astype(np.int32)
    tracemalloc.start()
    for t in range(8):
        masks = np.stack([(y - 200) ** 2 + (x - 100 * o - t) ** 2 < 4000 for o in range(1, 6)])
        names, scores = ("car",) * 5, (0.5,) * 5
        builder.add(FrameResult(t, tuple(range(1, 6)), masks, names, scores, semantic, STREET))
    del masks
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # One dense frame of masks alone takes 2 MB.
    assert kept < 8 * 30_000
