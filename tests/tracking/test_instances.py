from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from segblocks.tracking.instances import InstanceTrack, InstanceTracker, select_instances
from segblocks.tracking.overlap import LogitRows


def log_probabilities(*rows: Sequence[float]) -> Tensor:
    return torch.tensor(rows).log()


CLASSES = log_probabilities([0.6, 0.1, 0.3], [0.1, 0.05, 0.85], [0.2, 0.45, 0.35])


def test_queries_are_chosen_by_their_best_class_other_than_no_object() -> None:
    assert select_instances(CLASSES).tolist() == [0, 2, 1]
    assert select_instances(CLASSES, max_instances=2).tolist() == [0, 2]
    assert select_instances(CLASSES, min_score=0.5).tolist() == [0]
    assert select_instances(CLASSES, min_score=0.9).tolist() == []


def test_a_track_is_the_softmax_of_its_mean_logits() -> None:
    logits = np.array([[1.0, 4.0, 2.0], [5.0, 0.0, 2.0]])
    track = InstanceTrack(logits.sum(axis=0), 2)
    mean = logits.mean(axis=0)
    expected = np.exp(mean) / np.exp(mean).sum()
    np.testing.assert_allclose(track.probabilities, expected)
    assert track.label == 0
    assert track.score == pytest.approx(expected[0])


def clip(tracker: InstanceTracker, rows: Sequence[int], num_done: int) -> LogitRows:
    """Show a clip of 4 frames in which query ``n`` is at row ``rows[n]`` (none where negative)."""
    logits = torch.full((len(rows), 4, 6, 5), -1.0)
    for n, row in enumerate(rows):
        if row >= 0:
            logits[n, :, row] = 1.0
    return tracker.update(CLASSES[[0] * len(rows)], lambda queries: logits[queries], num_done)


def rows_of(rows: LogitRows, t: int) -> dict[int, list[int]]:
    ids, logits = rows.frame(t)
    shown = (logits > 0).any(dim=2)
    return {i: row.nonzero()[:, 0].tolist() for i, row in zip(ids, shown, strict=True)}


def test_ids_follow_the_masks_and_ended_tracks_do_not_return() -> None:
    tracker = InstanceTracker()
    assert rows_of(clip(tracker, [0, 2], 2), 0) == {1: [0], 2: [2]}
    first = clip(tracker, [2, 4], 2)
    assert rows_of(first, 0) == {1: [0], 2: [2], 3: [4]}
    second = clip(tracker, [0, 4, 2], 4)
    assert rows_of(second, 1) == {3: [4], 2: [2], 4: [0]}
    assert rows_of(second, 3) == {3: [4], 2: [2], 4: [0]}
    assert {i: track.num_clips for i, track in tracker.tracks.items()} == {1: 1, 2: 3, 3: 2, 4: 1}


def test_forgetting_ended_tracks_changes_nothing_else() -> None:
    forgetful, other = InstanceTracker(), InstanceTracker()
    for n, instances in enumerate(([0, 2], [2, 4], [0, 4, 2], [], [1], [1, 3])):
        forgetful.forget_ended()
        done = 4 if n == 5 else 2
        got, want = clip(forgetful, instances, done), clip(other, instances, done)
        assert [rows_of(got, t) for t in range(done)] == [rows_of(want, t) for t in range(done)]
    assert forgetful.tracks.keys() < other.tracks.keys()
    assert max(forgetful.tracks) == max(other.tracks)


def test_a_clip_without_instances_ends_all_tracks() -> None:
    tracker = InstanceTracker()
    clip(tracker, [0], 2)
    assert rows_of(clip(tracker, [], 2), 0) == {1: [0]}
    assert rows_of(clip(tracker, [0], 4), 0) == {2: [0]}


def test_official_compat_keeps_the_earlier_clip_and_links_what_is_empty() -> None:
    tracker = InstanceTracker(official_compat=True)
    clip(tracker, [0, -1], 2)
    rows = clip(tracker, [3, -1], 4)
    assert rows_of(rows, 0) == {1: [0], 2: []}
    assert rows_of(rows, 2) == {2: [], 3: [3]}
    tracker = InstanceTracker()
    clip(tracker, [0, -1], 2)
    rows = clip(tracker, [3, -1], 4)
    assert rows_of(rows, 0) == {1: [0], 2: [], 3: [3], 4: []}


def test_only_kept_queries_are_asked_for_masks() -> None:
    asked: list[list[int]] = []

    def mask_logits(queries: Tensor) -> Tensor:
        asked.append(queries.tolist())
        return torch.zeros(len(queries), 4, 2, 2)

    InstanceTracker(max_per_clip=1).update(CLASSES, mask_logits, 2)
    assert asked == [[0]]
