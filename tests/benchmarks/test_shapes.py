"""The ablations of GvSeg: what they compare, and that they run, slim and for one step."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.learning import gvseg_variants, shape_changes, shapes, stuff
from benchmarks.learning.baselines import commonest_class
from benchmarks.learning.gvseg_variants import CONFIG, RULE, compare
from benchmarks.learning.id_switches import IdSwitches
from benchmarks.learning.judge import asked
from segblocks.data import VideoSample
from segblocks.data.clips import TrainingClip
from segblocks.data.synthetic import open_held_out
from segblocks.results import FrameResult, TrackSummary, VideoSegmentation, VideoSegmentationBuilder
from segblocks.tasks import VIS
from segblocks.zoo.gvseg import GvSeg
from tests.inference.evaluation.evaluated import squares_sample

TINY = [
    *("--seeds", "0", "--steps", "1", "--batch", "1", "--workers", "0", "--device", "cpu"),
    *("--size", "48", "64", "--frames", "6", "--videos", "1"),
]


SLIM = replace(
    CONFIG,
    backbone="resnet18",
    embed_dim=32,
    num_heads=4,
    decoder_layers=1,
    num_queries=6,
)


def run(monkeypatch: pytest.MonkeyPatch, module: Any, out: Path, *names: str) -> Any:
    """What the report holds after variants of a module."""
    pytest.importorskip("pycocotools")
    pytest.importorskip("accelerate")
    monkeypatch.setattr(gvseg_variants, "CONFIG", SLIM)
    monkeypatch.setattr(gvseg_variants, "load_initial", lambda *_: None)
    monkeypatch.setattr("sys.argv", ["s", "--out", str(out), "--variants", *names, *TINY])
    name = module.__name__.rpartition(".")[2]
    # Propagation needs weights from elsewhere.
    kept = {
        task: {n: p for n, p in by_name.items() if n != "k-NN propagation"}
        for task, by_name in module.SCENE.baselines.items()
    }
    compare(name, None, replace(module.SCENE, baselines=kept), module.VARIANTS)
    return json.loads((out / f"{name}.json").read_text())


def test_a_training_is_measured_in_several_ways(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["shape alone (literal)", "shape alone (literal), matched evenly"]
    trained: list[Path] = []
    train = gvseg_variants.train_to_end

    def counted(*args: Any, **options: Any) -> Any:
        trained.append(options["out"])
        return train(*args, **options)

    monkeypatch.setattr(gvseg_variants, "train_to_end", counted)
    first = run(monkeypatch, shapes, tmp_path, *names)
    assert list(first["runs"]) == ["repeat first", *names]
    columns = ["VIS switched", "VIS found", "VIS AP"]
    assert all(list(found["0"]) == columns for found in first["runs"].values())
    # The second time is a finished training that is read again.
    assert [folder.parent.name for folder in trained] == ["shape_alone__literal_"] * 2
    trained.clear()
    run(monkeypatch, shapes, tmp_path, *names)
    assert not trained


def test_classes_are_measured_by_both_tasks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = run(monkeypatch, stuff, tmp_path, "things near")["runs"]
    columns = ["VPS VPQ", "VPS STQ", "VSS mIoU", "VSS mVC8"]
    assert list(found["things near"]["0"]) == columns
    assert list(found["repeat first"]["0"]) == columns[:2]
    assert list(found["one class"]["0"]) == columns[2:]
    assert 0 < found["one class"]["0"]["VSS mIoU"] < 0.5


def test_variants_are_what_they_are_called() -> None:
    for variants in (shapes.VARIANTS, stuff.VARIANTS):
        for name, variant in variants.items():
            if variant.trained_as is not None:
                whole = variants[variant.trained_as]
                assert replace(variant, policy=whole.policy, trained_as=None) == whole, name
            replace(CONFIG, **variant.model)
    assert stuff.NEAR.num_frames + stuff.NEAR.further == RULE.num_frames + RULE.further


def test_the_commonest_class_is_that_of_the_first_frame() -> None:
    sample, task = asked(open_held_out("tiny", length=1), "vss")[0]
    semantic = sample.read_truth(0).semantic
    assert semantic is not None
    shown = commonest_class(sample, task).frame(3).semantic
    assert shown is not None
    ((value, *others),) = [np.unique(shown).tolist()]
    assert not others
    counts = [(semantic == i).sum() for i in range(semantic.max() + 1)]
    assert counts[value] == max(counts)


def test_stuff_is_told_about_its_masks() -> None:
    torch.manual_seed(0)
    plain = GvSeg(SLIM).eval()
    shaped = stuff.ShapedStuff(replace(SLIM, min_thing_score=0.001)).eval()
    shaped.load_state_dict(plain.state_dict())
    frames = torch.randint(0, 256, (1, 2, 3, 64, 96), dtype=torch.uint8)
    task = asked(open_held_out("tiny", length=1), "vss")[0][1]
    a, b = plain(frames, task), shaped(frames, task)
    assert torch.equal(a.queries[0], b.queries[0])
    assert not torch.equal(a.queries[-1], b.queries[-1])


def shown_as(sample: VideoSample, numbers: Callable[[int, int], int]) -> VideoSegmentation:
    """The truth under numbers of one's own, by object and frame; 0 hides an object."""
    vocabulary = sample.vocabulary
    assert vocabulary is not None
    builder = VideoSegmentationBuilder(sample.size, VIS(vocabulary))
    for t in range(sample.num_frames):
        truth = sample.read_truth(t)
        ids = [numbers(identity, t) for identity in truth.ids]
        masks = truth.masks[[n > 0 for n in ids]]
        kept = tuple(n for n in ids if n)
        names = (vocabulary.classes[0],) * len(kept)
        builder.add(FrameResult(t, kept, masks, names, (1.0,) * len(kept), None, vocabulary))
    return builder.finish(sample.num_frames, [TrackSummary(i, 1, 1.0) for i in (1, 3, 4)])


def test_switches_are_counted_over_gaps() -> None:
    sample = squares_sample(0)
    present = {i: [t for t in range(sample.num_frames) if _there(sample, i, t)] for i in (1, 3, 4)}
    appearances = sum(map(len, present.values()))
    missed = present[1][1]

    def numbers(identity: int, t: int) -> int:
        if (identity, t) == (1, missed):
            return 0
        # From then on 1 and 4 have changed places.
        return {1: 4, 4: 1, 3: 3}[identity] if t > missed else identity

    metric = IdSwitches()
    metric.update(sample, shown_as(sample, numbers))
    found = metric.compute()
    again = appearances - 1 - 3
    assert found["found"] == pytest.approx((appearances - 1) / appearances)
    assert found["switched"] == pytest.approx(2 / again)
    exact = IdSwitches()
    exact.update(sample, shown_as(sample, lambda identity, _: identity))
    assert exact.compute() == {"switched": 0.0, "found": 1.0}


def test_a_second_track_of_an_object_is_no_switch() -> None:
    sample = squares_sample(0)
    assert sample.vocabulary is not None
    truth = sample.read_truth(0)
    mask = truth.masks[truth.ids.index(1)]
    worse = mask.copy()
    worse[np.argwhere(mask)[0][0]] = False
    builder = VideoSegmentationBuilder(sample.size, VIS(sample.vocabulary))
    for t in range(sample.num_frames):
        # The other track is the better one from the second frame on.
        masks = np.stack((mask, worse) if t == 0 else (worse, mask))
        builder.add(
            FrameResult(t, (7, 8), masks, (None, None), (1.0, 1.0), None, sample.vocabulary)
        )
    result = builder.finish(sample.num_frames, [TrackSummary(i, 1, 1.0) for i in (7, 8)])
    still = replace(sample, read_truth=lambda t: truth)
    metric = IdSwitches()
    metric.update(still, result)
    assert metric.compute()["switched"] == 0


def _there(sample: VideoSample, identity: int, t: int) -> bool:
    truth = sample.read_truth(t)
    return identity in truth.ids and bool(truth.masks[truth.ids.index(identity)].any())


def test_changes_are_those_between_the_nearest_frames_that_show_an_object() -> None:
    masks = torch.zeros(2, 4, 64, 96, dtype=torch.bool)
    masks[0, [0, 1, 3], 8:40, 8:40] = True
    masks[1, :3, 8:40, 48:80] = True
    clip = TrainingClip(
        "made", torch.zeros(4, 3, 64, 96, dtype=torch.uint8), (), masks, None, None, None, None,
        (3, 4, 5, 9), (0,)
    )  # fmt: skip
    assert list(shape_changes.changes(clip, 3, 4)) == [(5, 0.0)]
    masks[0, 3] = masks[0, 3].roll(24, dims=1)
    ((distance, change),) = shape_changes.changes(clip, 3, 4)
    assert distance == 5
    assert change > 0.1
