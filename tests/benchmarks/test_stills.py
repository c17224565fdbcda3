"""Videos of held-out photographs: what is asked of them, and that a predictor is measured."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.learning import stills
from benchmarks.learning.baselines import repeat_first
from segblocks.data.clips import CompositeVideos
from segblocks.data.synthetic import SyntheticWorld, world_config
from segblocks.inference import task_of
from segblocks.tasks import VOS


def videos(**options: object) -> CompositeVideos:
    world = SyntheticWorld(world_config("tiny", num_frames=1), length=5)
    return CompositeVideos(world, size=(32, 48), num_frames=4, **options)  # pyright: ignore[reportArgumentType]


def test_the_largest_objects_are_asked_for() -> None:
    for index in range(6):
        sample = videos(num_objects=(3, 5))[index]
        truth = sample.read_truth(0)
        areas = dict(zip(truth.ids, truth.masks.sum(axis=(1, 2)), strict=True))
        kept = stills.largest_objects(sample, 2)
        assert len(kept.objects) == min(2, len(areas))
        left = [area for identity, area in areas.items() if identity not in kept.hint_frames]
        assert min(areas[i] for i in kept.hint_frames) >= max(left, default=0)
        task = task_of(kept, "vos")
        assert isinstance(task, VOS)
        assert set(task.object_ids) == set(kept.hint_frames) == {o.id for o in kept.objects}


def test_every_other_video_changes_its_light() -> None:
    opened = list(stills.open_videos(videos(), 4, 1))
    assert len(opened) == 4
    plain = {sample.name: sample for sample in (videos()[i] for i in range(10))}
    lit = [
        not np.array_equal(sample.read_frame(3), plain[sample.name].read_frame(3))
        for sample in opened
    ]
    assert lit == [False, True, False, True]
    masks = [s.read_truth(3).masks for s in (opened[1], plain[opened[1].name])]
    assert np.array_equal(*masks)


def test_scenes_are_measured_side_by_side(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calm = {"travel": 0.0, "turn": 0.0, "scale_change": 1.0, "zoom": (1.0, 1.0), "pan": 0.0}
    made = {"still": lambda _: videos(**calm), "moving": lambda _: videos(travel=2.0)}
    monkeypatch.setattr(stills, "scenes", lambda size, frames: made)
    monkeypatch.setattr(stills, "predictors_of", lambda _: {"repeat first": repeat_first})
    words = ["s", "--stills", str(tmp_path), "--videos", "2", "--out", str(tmp_path / "found")]
    monkeypatch.setattr("sys.argv", words)
    stills.main()
    found = json.loads((tmp_path / "found.json").read_text())
    table = (tmp_path / "found.md").read_text()
    assert table.count("| repeat first | 100.0 | ") == 2
    titles = [title for title in found if title.startswith("J&F")]
    assert [title.split("first ")[1] for title in titles] == [
        "mask given, at most 1 objects a video",
        "mask given, at most 4 objects a video",
        "point given, at most 4 objects a video",
    ]
