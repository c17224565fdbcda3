"""VPQ and PQ against loops over segments, and by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from segblocks.data.sample import ObjectInfo
from segblocks.metrics import PQ, VPQ
from segblocks.tasks import VPS
from tests.metrics.panoptic_videos import PanopticVideo, is_thing, random_video, segments
from tests.metrics.videos import STREET, annotated_video, predicted_video

Sums = dict[int, list[float]]


def slow_sums(videos: list[PanopticVideo], window: int) -> Sums:
    """Class -> [IoU, TP, FP, FN], each segment and each pair of them looked at."""
    sums: Sums = {}
    for video in videos:
        for start in range(video.truth.num_frames - window + 1):
            part = slice(start, start + window)
            _add_window(sums, video, part)
    return sums


def _add_window(sums: Sums, video: PanopticVideo, part: slice) -> None:
    truth = segments(video.truth_class[part], video.truth_id[part])
    found = segments(video.found_class[part], video.found_id[part])
    void = video.truth_class[part] < 0
    crowds = {c: m for (c, i), m in truth.items() if is_thing(c) and i == 0}
    wanted = {key: m for key, m in truth.items() if not (is_thing(key[0]) and key[1] == 0)}
    matched = set()
    for key, mask in wanted.items():
        entry = sums.setdefault(key[0], [0.0, 0, 0, 0])
        for other, guess in found.items():
            union = (mask | (guess & ~void)).sum()
            iou = (mask & guess).sum() / union
            if other[0] == key[0] and iou > 0.5:
                entry[0] += iou
                entry[1] += 1
                matched.add(other)
                break
        else:
            entry[3] += 1
    for other, guess in found.items():
        excused = void | crowds.get(other[0], np.zeros_like(void))
        if other not in matched and (guess & excused).sum() / guess.sum() <= 0.5:
            sums.setdefault(other[0], [0.0, 0, 0, 0])[2] += 1


def slow_quality(sums: Sums, things: tuple[bool, ...]) -> tuple[float, float, float]:
    rows = []
    for label, (iou, tp, fp, fn) in sums.items():
        if is_thing(label) in things and tp + fp + fn:
            weight = tp + fp / 2 + fn / 2
            rows.append((iou / weight, iou / tp if tp else 0, tp / weight))
    pq, sq, rq = np.mean(rows, axis=0)
    return float(pq), float(sq), float(rq)


@pytest.mark.parametrize("seed", range(5))
def test_vpq_equals_loops(seed: int) -> None:
    videos = [random_video(10 * seed + i) for i in range(3)]
    metric = VPQ((1, 2, 4))
    for video in videos:
        metric.update(video.truth, video.prediction)
    result = metric.compute()
    for group, things in (("", (True, False)), ("_Th", (True,)), ("_St", (False,))):
        values = []
        for k in (1, 2, 4):
            values.append(slow_quality(slow_sums(videos, k), things)[0])
            assert result[f"VPQ{group}@{k}"] == pytest.approx(values[-1], abs=1e-12)
        assert result[f"VPQ{group}"] == pytest.approx(np.mean(values), abs=1e-12)
    assert 0.05 < result["VPQ"] < 0.95


@pytest.mark.parametrize("seed", range(3))
def test_pq_equals_loops_and_vpq_of_single_frames(seed: int) -> None:
    videos = [random_video(100 + 10 * seed + i) for i in range(3)]
    metric, tubes = PQ(), VPQ((1,))
    for video in videos:
        metric.update(video.truth, video.prediction)
        tubes.update(video.truth, video.prediction)
    result = metric.compute()
    for group, things in (("", (True, False)), ("_Th", (True,)), ("_St", (False,))):
        expected = slow_quality(slow_sums(videos, 1), things)
        got = tuple(result[name + group] for name in ("PQ", "SQ", "RQ"))
        assert got == pytest.approx(expected, abs=1e-12)
        assert result["PQ" + group] == tubes.compute()[f"VPQ{group}@1"]


def test_tubes_need_one_id_in_all_frames() -> None:
    """An object in two frames, found under two ids: each frame is right, the tube is not."""
    mask = np.zeros((2, 4, 4), dtype=bool)
    mask[:, :2] = True
    semantic = np.zeros((2, 4, 4), dtype=int)
    full = np.where(mask, 2, semantic)
    first, second = mask.copy(), mask.copy()
    first[1] = second[0] = False
    metric = VPQ((1, 2))
    metric.update(
        annotated_video({1: mask}, semantic=full),
        predicted_video({1: first, 2: second}, semantic=semantic),
    )
    result = metric.compute()
    assert result["VPQ_Th@1"] == 1
    # IoU is 1/2 with each, which is not above 1/2.
    assert result["VPQ_Th@2"] == 0
    assert result["VPQ_St@2"] == 1
    assert result["VPQ_Th"] == 0.5


def test_windows_longer_than_every_video_are_left_out() -> None:
    mask = np.ones((2, 3, 3), dtype=bool)
    mask[:, 0] = False
    semantic = np.zeros((2, 3, 3), dtype=int)
    metric = VPQ()
    metric.update(
        annotated_video({1: mask}, semantic=np.where(mask, 2, 0)),
        predicted_video({1: mask}, semantic=semantic),
    )
    result = metric.compute()
    assert result["VPQ"] == 1
    assert math.isnan(result["VPQ@3"])


def test_windows_count_annotated_frames() -> None:
    """Every second frame is annotated; what was found in the others does not matter."""
    rng = np.random.default_rng(0)
    mask = np.zeros((8, 4, 4), dtype=bool)
    mask[:, :2] = True
    semantic = np.zeros((8, 4, 4), dtype=int)
    found = mask.copy()
    found[1::2] = rng.random((4, 4, 4)) < 0.5
    metric = VPQ((1, 4))
    truth = annotated_video({1: mask}, semantic=np.where(mask, 2, semantic), annotated=(0, 2, 4, 6))
    metric.update(truth, predicted_video({1: found}, semantic=semantic))
    assert metric.compute()["VPQ"] == metric.compute()["VPQ@4"] == 1


def test_objects_need_a_class_and_frames_a_map() -> None:
    mask = np.ones((1, 2, 2), dtype=bool)
    prediction = predicted_video({1: mask}, semantic=np.zeros((1, 2, 2), dtype=int))
    truth = annotated_video({1: mask}, semantic=mask * 2, objects=[ObjectInfo(1)])
    with pytest.raises(ValueError, match=r"objects \[1\] have no class"):
        PQ().update(truth, prediction)
    with pytest.raises(ValueError, match="no semantic map at frame 0"):
        PQ().update(annotated_video({1: mask}), prediction)
    with pytest.raises(ValueError, match="has no semantic map"):
        PQ().update(
            annotated_video({1: mask}, semantic=mask * 2),
            predicted_video({1: mask}, task=VPS(STREET)),
        )
