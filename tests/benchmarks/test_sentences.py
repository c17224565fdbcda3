"""How the reading of sentences is judged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.learning import sentences
from segblocks.data import VideoSample
from segblocks.data.synthetic import open_held_out
from segblocks.results import VideoSegmentation
from segblocks.tasks import RefVOS, Task


def test_an_object_by_chance_is_seldom_the_one() -> None:
    world = open_held_out("refvos", length=6, size=(96, 160), num_frames=2)
    found = sentences.numbers_of(sentences.measure(sentences.chance_object, world))
    counts = [len(sample.objects) for sample in world]
    assert 0 < found["mean"] < 2.5 * len(counts) / sum(counts)
    assert len(found) > 3


def test_hidden_sentences_are_all_one() -> None:
    world = open_held_out("refvos", length=1, size=(48, 64), num_frames=2)
    seen: list[Task] = []

    def noted(sample: VideoSample, task: Task) -> VideoSegmentation:
        seen.append(task)
        return sentences.chance_object(sample, task)

    task = RefVOS(["a red star", "a ring"])
    sentences.hide_sentences(noted)(world[0], task)
    assert isinstance(seen[0], RefVOS)
    assert len(seen[0].expressions) == 2
    assert len(set(seen[0].expressions)) == 1


def test_a_report_counts_the_objects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = ["--videos", "2", "--frames", "2", "--size", "48", "64"]
    monkeypatch.setattr("sys.argv", ["sentences", "--out", str(tmp_path / "found"), *options])
    sentences.main()
    found = json.loads((tmp_path / "found.json").read_text())
    assert {"color", "motion"} & set(found["an object by chance"])
    assert "2 held-out videos of" in (tmp_path / "found.md").read_text()
