"""The ablations of GvSeg: what they compare, and that they run, slim and for one step."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.learning import shape_changes, shapes
from benchmarks.learning.id_switches import IdSwitches
from segblocks.data import VideoSample
from segblocks.data.clips import TrainingClip
from segblocks.results import FrameResult, TrackSummary, VideoSegmentation, VideoSegmentationBuilder
from segblocks.tasks import VIS
from segblocks.zoo.gvseg import GvSeg
from tests.inference.evaluation.evaluated import squares_sample

TINY = [
    *("--seeds", "0", "--steps", "1", "--batch", "1", "--workers", "0", "--device", "cpu"),
    *("--size", "48", "64", "--frames", "6", "--videos", "1"),
]


@pytest.fixture
def slim(monkeypatch: pytest.MonkeyPatch) -> None:
    config = replace(
        shapes.CONFIG,
        backbone="resnet18",
        embed_dim=32,
        num_heads=4,
        decoder_layers=1,
        num_queries=6,
    )
    monkeypatch.setattr(shapes, "CONFIG", config)
    monkeypatch.setattr(shapes, "load_initial", lambda *_: None)
    monkeypatch.setattr(shapes, "propagate_first", shapes.repeat_first)


@pytest.mark.usefixtures("slim")
def test_a_training_is_measured_in_several_ways(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pycocotools")
    pytest.importorskip("accelerate")
    names = ["shape alone (literal)", "shape alone (literal), matched evenly", "things near"]
    monkeypatch.setattr("sys.argv", ["s", "--out", str(tmp_path), "--variants", *names, *TINY])
    trained: list[Path] = []
    train = shapes.train_to_end

    def counted(*args: Any, **options: Any) -> Any:
        summary = train(*args, **options)
        trained.append(options["out"])
        return summary

    monkeypatch.setattr(shapes, "train_to_end", counted)
    shapes.main()
    first = json.loads((tmp_path / "shapes.json").read_text())
    assert list(first["runs"]) == ["repeat first", "k-NN propagation", *names]
    columns = list(first["runs"]["things near"]["0"])
    assert columns[:3] == ["twins VIS switched", "twins VIS found", "twins VOS J&F"]
    assert len(columns) == 8
    # The second time is a finished training that is read again.
    assert [folder.parent.name for folder in trained[:2]] == ["shape_alone__literal_"] * 2
    trained.clear()
    shapes.main()
    assert not trained


def test_variants_are_what_they_are_called() -> None:
    for name, variant in shapes.VARIANTS.items():
        if variant.trained_as is not None:
            whole = shapes.VARIANTS[variant.trained_as]
            assert replace(variant, policy=whole.policy, trained_as=None) == whole, name
        replace(shapes.CONFIG, **variant.model)
    near = shapes.NEAR
    assert (near.num_frames + near.further) == (shapes.RULE.num_frames + shapes.RULE.further)


def test_stuff_is_told_about_its_masks() -> None:
    config = replace(
        shapes.CONFIG,
        backbone="resnet18",
        embed_dim=32,
        num_heads=4,
        decoder_layers=1,
        num_queries=6,
    )
    torch.manual_seed(0)
    plain = GvSeg(config).eval()
    shaped = shapes.ShapedStuff(replace(config, min_thing_score=0.001)).eval()
    shaped.load_state_dict(plain.state_dict())
    frames = torch.randint(0, 256, (1, 2, 3, 64, 96), dtype=torch.uint8)
    task = shapes.asked(shapes.open_held_out("tiny", length=1), "vss")[0][1]
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
