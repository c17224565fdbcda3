"""mVC against windows that are looked at one by one."""

from __future__ import annotations

import math

import numpy as np
import pytest

from segblocks.metrics import VideoConsistency
from tests.metrics.videos import annotated_video, predicted_video


def slow_vc(pairs: list[tuple[np.ndarray, np.ndarray]], n: int) -> float:
    values = []
    for truth, found in pairs:
        for start in range(len(truth) - n):
            window, guess = truth[start : start + n], found[start : start + n]
            stays = (window == window[0]).all(axis=0)
            kept = (guess == guess[0]).all(axis=0)
            if stays.any():
                values.append((stays & kept).sum() / stays.sum())
    return float(np.mean(values))


def changing(rng: np.random.Generator, frames: int, rate: float) -> np.ndarray:
    labels = rng.integers(-1, 4, (1, 5, 6))
    parts = [labels]
    for _ in range(frames - 1):
        new = rng.random(labels.shape) < rate
        parts.append(np.where(new, rng.integers(-1, 4, labels.shape), parts[-1]))
    return np.concatenate(parts)


@pytest.mark.parametrize("windows", [(2,), (3, 5), (8, 16)])
def test_equals_windows_one_by_one(windows: tuple[int, ...]) -> None:
    rng = np.random.default_rng(len(windows))
    lengths = (max(windows) + 5, max(windows) + 1, max(windows), 2)
    pairs = [(changing(rng, n, 0.05), changing(rng, n, 0.08)) for n in lengths]
    metric = VideoConsistency(windows)
    for i, (truth, found) in enumerate(pairs):
        metric.update(
            annotated_video({}, name=str(i), semantic=truth), predicted_video({}, semantic=found)
        )
    expected = {f"mVC{n}": slow_vc(pairs, n) for n in windows}
    assert metric.compute() == pytest.approx(expected, abs=1e-12)
    assert all(0 < value < 1 for value in expected.values())


def test_by_hand() -> None:
    """Of two pixels that stay, the prediction keeps one; the last frame's window does not count."""
    truth = np.zeros((4, 1, 3), dtype=int)
    truth[1, 0, 2] = 1
    found = np.ones((4, 1, 3), dtype=int)
    found[1, 0, 0] = 2
    found[3] = 0
    metric = VideoConsistency((3,))
    metric.update(annotated_video({}, semantic=truth), predicted_video({}, semantic=found))
    assert metric.compute() == {"mVC3": 0.5}


def test_videos_of_one_window_do_not_count() -> None:
    semantic = np.zeros((8, 2, 2), dtype=int)
    metric = VideoConsistency()
    metric.update(annotated_video({}, semantic=semantic), predicted_video({}, semantic=semantic))
    assert all(math.isnan(v) for v in metric.compute().values())
