"""J&F against a slow transcription of DAVIS' definitions, and its rules by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from segblocks.data.sample import Expression, ObjectInfo
from segblocks.metrics import JAndF
from segblocks.tasks import RefVOS
from tests.metrics.test_boundary import slow_f
from tests.metrics.videos import annotated_video, blobs, followed, predicted_video

SHAPE = (11, 30, 34)


def slow_davis(
    truth: dict[int, NDArray[np.bool_]], found: dict[int, NDArray[np.bool_]]
) -> dict[str, float]:
    """Frames 1 to T - 2; the mean over the objects of mean, recall and decay."""
    rows = []
    for i, masks in truth.items():
        j, f = [], []
        for t in range(1, SHAPE[0] - 1):
            union = (masks[t] | found[i][t]).sum()
            j.append((masks[t] & found[i][t]).sum() / union if union else 1.0)
            f.append(slow_f(found[i][t], masks[t]))
        row = []
        for values in (np.array(j), np.array(f)):
            # Frames 1 to 9 of the judged ones in quarters that share their ends: 1, 3, 5, 7, 9.
            decay = values[0:3].mean() - values[6:9].mean()
            row += [values.mean(), (values > 0.5).mean(), decay]
        rows.append(row)
    names = [f"{kind}_{what}" for kind in "JF" for what in ("mean", "recall", "decay")]
    result = dict(zip(names, np.mean(rows, axis=0).tolist(), strict=True))
    return {"J&F": (result["J_mean"] + result["F_mean"]) / 2, **result}


@pytest.mark.parametrize("seed", range(3))
def test_equals_the_definition(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = blobs(rng, (1, 2, 7), SHAPE)
    found = {i: m ^ (rng.random(SHAPE) < 0.02 * i) for i, m in truth.items()}
    found[2] = np.roll(truth[2], 2, axis=2)
    metric = JAndF()
    metric.update(annotated_video(truth), followed(found))
    assert metric.compute() == pytest.approx(slow_davis(truth, found), abs=1e-12)


def test_objects_of_all_videos_weigh_the_same() -> None:
    mask = np.zeros((5, 8, 8), dtype=bool)
    mask[:, 2:5, 2:5] = True
    metric = JAndF()
    metric.update(annotated_video({1: mask}, name="a"), followed({1: mask}))
    missing = {1: np.zeros_like(mask), 2: np.zeros_like(mask)}
    metric.update(annotated_video({1: mask, 2: mask}, name="b"), followed(missing))
    assert metric.compute()["J_mean"] == pytest.approx(1 / 3)
    assert metric.per_video()["a"]["J&F"] == 1


def test_quarters_of_few_frames() -> None:
    mask = np.zeros((3, 8, 8), dtype=bool)
    mask[:, 2:5, 2:5] = True
    metric = JAndF()
    metric.update(annotated_video({1: mask}), followed({1: mask}))
    assert metric.compute()["J_decay"] == 0
    assert metric.compute()["J&F"] == 1


def test_a_track_that_is_not_there_is_empty_and_others_do_not_count() -> None:
    mask = np.ones((4, 6, 6), dtype=bool)
    mask[:, 3:] = False
    metric = JAndF()
    metric.update(annotated_video({1: mask}), followed({2: mask}))
    assert metric.compute()["J_mean"] == 0


@pytest.mark.parametrize(
    ("judged", "frames"), [("between", (3, 4)), ("after", (3, 4, 5)), ("all", (0, 1, 2, 3, 4, 5))]
)
def test_which_frames_count(judged: str, frames: tuple[int, ...]) -> None:
    """An object hinted in frame 2 is right in one frame alone, and J says whether that counts."""
    truth = np.zeros((6, 5, 5), dtype=bool)
    truth[2:, :2, :2] = True
    wrong = np.zeros_like(truth)
    wrong[:, 4, 4] = True
    for t in range(6):
        found = wrong.copy()
        found[t] = truth[t]
        metric = JAndF(judged)  # type: ignore[arg-type]
        metric.update(annotated_video({1: truth}, hint_frames={1: 2}), followed({1: found}, {1: 2}))
        expected = 1 / len(frames) if t in frames else 0
        assert metric.compute()["J_mean"] == pytest.approx(expected)


def test_only_annotated_frames_count_and_objects_without_any_are_left_out() -> None:
    truth = np.zeros((8, 5, 5), dtype=bool)
    truth[:, :2, :2] = True
    found = truth.copy()
    found[[1, 3, 5]] = False
    video = annotated_video({1: truth, 2: truth}, annotated=(0, 2, 4, 6), hint_frames={1: 0, 2: 4})
    metric = JAndF()
    metric.update(video, followed({1: found, 2: found}, {2: 4}))
    assert metric.compute()["J&F"] == 1
    assert list(metric.state_dict()["videos"]["video"]) == ["1"]


def test_ignored_pixels_count_to_no_mask() -> None:
    truth = np.zeros((3, 9, 9), dtype=bool)
    truth[:, 2:6, 2:6] = True
    ignore = np.zeros_like(truth)
    ignore[:, :, 5:] = True
    found = truth.copy()
    found[:, :, 5:] = True
    for ignored, expected in ((None, 16 / 48), (ignore, 1.0)):
        metric = JAndF()
        metric.update(annotated_video({1: truth}, ignore=ignored), followed({1: found}))
        assert metric.compute()["J_mean"] == pytest.approx(expected)
    assert metric.compute()["F_mean"] == 1


def test_expressions_are_objects() -> None:
    rng = np.random.default_rng(5)
    truth = blobs(rng, (1, 2, 3), (6, 10, 12))
    expressions = [Expression("0", "the left ones", (1, 2)), Expression("4", "the other", (3,))]
    video = annotated_video(truth, expressions=expressions)
    found = {1: truth[1] | truth[2], 2: truth[3]}
    task = RefVOS([e.text for e in expressions])
    metric = JAndF("all")
    metric.update(video, predicted_video(found, task=task))
    assert metric.compute()["J&F"] == 1
    assert list(metric.state_dict()["videos"]["video"]) == ["0", "4"]
    swapped = JAndF("all")
    swapped.update(video, predicted_video({1: found[2], 2: found[1]}, task=task))
    assert swapped.compute()["J_mean"] < 1
    with pytest.raises(ValueError, match="2 expressions like the video, got 1"):
        JAndF("all").update(video, predicted_video({1: found[1]}, task=RefVOS("one")))


def test_sentences_of_a_kind_are_assigned() -> None:
    """Two kinds of sentences in turn; the masks of one kind are swapped between the objects."""
    rng = np.random.default_rng(6)
    truth = blobs(rng, (1, 2), (6, 20, 24))
    expressions = [Expression(str(i), f"e{i}", (1 + i // 2,)) for i in range(4)]
    video = annotated_video(truth, expressions=expressions)
    task = RefVOS([e.text for e in expressions])
    noisy = {i: m ^ (rng.random(m.shape) < 0.02) for i, m in truth.items()}
    swapped = {1: noisy[2], 2: truth[1], 3: noisy[1], 4: truth[2]}
    straight = {1: noisy[1], 2: truth[1], 3: noisy[2], 4: truth[2]}
    values = {}
    for name, found in (("swapped", swapped), ("straight", straight)):
        for kinds in (None, 2):
            metric = JAndF("all", kinds=kinds)
            metric.update(video, predicted_video(found, task=task))
            values[name, kinds] = metric.state_dict()["videos"]["video"]
    assert values["swapped", 2] == values["straight", 2] == values["straight", None]
    assert values["swapped", None]["0"]["J"][0] < 0.5
    # A mask of one kind does not help the other.
    lost = {**straight, 1: np.zeros_like(truth[1]), 2: noisy[1]}
    metric = JAndF("all", kinds=2)
    metric.update(video, predicted_video(lost, task=task))
    assert metric.state_dict()["videos"]["video"]["0"]["J"][0] < 0.5
    assert metric.state_dict()["settings"] == {"judged": "all", "kinds": 2}


def test_kinds_are_those_of_sentences() -> None:
    mask = np.ones((4, 3, 3), dtype=bool)
    with pytest.raises(ValueError, match=r"kinds are those of sentences, .* 'video' for 'vos'"):
        JAndF("all", kinds=4).update(annotated_video({1: mask}), followed({1: mask}))
    with pytest.raises(ValueError, match="kinds must be at least 1, got 0"):
        JAndF(kinds=0)


def test_crowds_are_no_objects() -> None:
    mask = np.ones((4, 3, 3), dtype=bool)
    video = annotated_video({1: mask, 2: mask})
    objects = (ObjectInfo(1), ObjectInfo(2, is_crowd=True))
    metric = JAndF()
    metric.update(replace(video, objects=objects), followed({1: mask}))
    assert metric.compute()["J&F"] == 1
