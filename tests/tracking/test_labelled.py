from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from segblocks.tracking import LabelledTracker, select_labelled


def log(*rows: list[float]) -> Tensor:
    return torch.tensor(rows).log()


@given(st.integers(1, 5), st.integers(1, 4), st.integers(1, 25), st.integers(0, 99))
def test_pairs_are_those_of_a_sorted_list(q: int, k: int, limit: int, seed: int) -> None:
    logits = torch.randn(q, k + 1, generator=torch.Generator().manual_seed(seed))
    scores = logits.softmax(-1)
    ranked = sorted(
        ((float(scores[i, c]), i, c) for i in range(q) for c in range(k)), key=lambda s: -s[0]
    )
    queries, labels = select_labelled(logits, limit)
    assert list(zip(queries.tolist(), labels.tolist(), strict=True)) == [
        (i, c) for _, i, c in ranked[:limit]
    ]


def masks(*rows: tuple[float, ...]) -> Tensor:
    """Logits (n, T, 2, 2), one constant a frame."""
    return torch.tensor(rows)[:, :, None, None].expand(-1, -1, 2, 2)


def test_a_query_in_doubt_is_two_tracks_of_one_instance() -> None:
    tracker = LabelledTracker(max_per_clip=3)
    asked = []

    def mask_logits(queries: Tensor) -> Tensor:
        asked.append(queries.tolist())
        return masks((1.0, 1.0), (-1.0, 2.0))[queries]

    finished = tracker.update(log([0.5, 0.4, 0.1], [0.1, 0.6, 0.3]), mask_logits, 2)
    assert asked == [[1, 0]], "each query is asked for once"
    assert [(t.label, round(t.score, 4)) for t in tracker.tracks.values()] == [
        (1, 0.6), (0, 0.5), (1, 0.4)
    ]  # fmt: skip
    ids, logits = finished.frame(0)
    assert [list(tracker.tracks_of(i)) for i in ids] == [[1], [2, 3]]
    assert logits[:, 0, 0].tolist() == [-1.0, 1.0]


def test_instances_go_on_whatever_their_labels() -> None:
    tracker = LabelledTracker(max_per_clip=1)
    first, second = [0.7, 0.2, 0.1], [0.2, 0.7, 0.1]
    tracker.update(log(first), lambda q: masks((1.0, 3.0))[q], 1)
    rows = tracker.update(log(second), lambda q: masks((5.0, 1.0))[q], 2)
    assert rows.frame(0)[1][0, 0, 0] == 4.0, "the shared frame has the mean"
    assert list(tracker.tracks_of(rows.ids[0])) == [1, 2]
    mean = np.log([first, second]).mean(axis=0)
    expected = np.exp(mean) / np.exp(mean).sum()
    assert [track.score for track in tracker.tracks.values()] == pytest.approx(expected[:2])


def test_ended_tracks_can_be_forgotten() -> None:
    tracker = LabelledTracker(max_per_clip=2)
    tracker.update(log([0.5, 0.4, 0.1]), lambda q: masks((1.0, -1.0))[q], 1)
    tracker.forget_ended()
    assert list(tracker.tracks) == [1, 2], "the window still holds a frame of it"
    rows = tracker.update(log([0.4, 0.5, 0.1]), lambda q: masks((1.0, 1.0))[q], 2)
    assert rows.num_frames == 2
    tracker.forget_ended()
    assert tracker.tracks == {}
    tracker.update(log([0.5, 0.4, 0.1]), lambda q: masks((1.0, 1.0))[q], 2)
    assert list(tracker.tracks) == [5, 6], "numbers are not used again"
