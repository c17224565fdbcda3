"""How a model is judged over datasets that name different classes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.learning import label_spaces
from benchmarks.learning.baselines import repeat_first
from benchmarks.learning.taxonomies import labels_of
from segblocks.data import VideoSample
from segblocks.data.synthetic import open_held_out
from segblocks.results import Track, VideoSegmentation
from segblocks.tasks import VIS, Task

pytest.importorskip("pycocotools")


def test_what_a_dataset_does_not_name_does_not_count() -> None:
    world = open_held_out("tiny", length=20, num_frames=2, **labels_of("shapes_a", ("circle",)))
    shown = next(sample for sample in world if sample.objects)
    asked: list[Task] = []

    def generous(sample: VideoSample, task: Task) -> VideoSegmentation:
        """Everything of the sample, and a ring that its dataset does not name."""
        asked.append(task)
        result = repeat_first(sample, VIS(sample.vocabulary))
        ring = Track(9, "ring", 1.0, {}, sample.size, sample.num_frames)
        return replace(result, tracks=(*result.tracks, ring), vocabulary=task.resolve())

    result = label_spaces.ask_for_all(generous)(shown, VIS(shown.vocabulary))
    assert isinstance(asked[0], VIS)
    assert asked[0].resolve().classes == label_spaces.ALL_SHAPES
    assert result.vocabulary is not None
    assert result.vocabulary.classes == ("circle",)
    assert {track.label for track in result.tracks} == {"circle"}


def test_the_command_writes_its_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(label_spaces, "predictors_of", lambda _: {"repeat first": repeat_first})
    options = ["--preset", "tiny", "--videos", "1", "--frames", "2", "--size", "32", "48"]
    monkeypatch.setattr("sys.argv", ["label_spaces", "--out", str(tmp_path / "found"), *options])
    label_spaces.main()
    assert "| repeat first |" in (tmp_path / "found.md").read_text()
