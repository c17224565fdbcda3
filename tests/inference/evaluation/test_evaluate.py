"""Evaluation: right numbers, interrupted or not, by one process or several."""

from __future__ import annotations

import csv
import gc
import json
import os
import subprocess
import sys
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from segblocks.data import VideoDataset, VideoSample, open_dataset
from segblocks.data.burst import write_burst
from segblocks.data.vipseg import write_vipseg
from segblocks.data.youtube_vis import write_youtube_vis
from segblocks.inference import read_result, save_result
from segblocks.inference.evaluation import source as evaluation_source
from segblocks.inference.evaluation.evaluate import evaluate
from segblocks.metrics import GScore
from tests.inference.evaluation.evaluated import (
    made_dataset,
    perfect,
    save_predictions,
    shifted,
    squares_davis,
    squares_sample,
)
from tests.oracle import OracleModel

CLIPS: dict[str, Any] = {"clip_length": 4, "overlap": 2}
REPOSITORY = Path(__file__).parents[2]


class Clumsy(OracleModel):
    """An oracle that cannot see the upper half of what is at the left."""

    def extract(self, frames: torch.Tensor) -> dict[int, torch.Tensor]:
        pyramid = super().extract(frames)
        pyramid[4][..., 1:, ::2, :6] = 0
        return pyramid


def only(dataset: VideoDataset, samples: list[VideoSample]) -> VideoDataset:
    """A dataset whose videos are in memory."""

    class Listed:
        name, task, vocabulary = dataset.name, dataset.task, dataset.vocabulary
        names = tuple(sample.name for sample in samples)

        def __len__(self) -> int:
            return len(samples)

        def __getitem__(self, index: int) -> VideoSample:
            return samples[index]

    return Listed()


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The videos that a model has been asked about."""
    names: list[str] = []
    segment = evaluation_source.segment

    def watched(model: Any, source: Any, task: Any, **settings: Any) -> Any:
        names.append(source.name)
        return segment(model, source, task, **settings)

    monkeypatch.setattr(evaluation_source, "segment", watched)
    return names


@pytest.mark.parametrize(
    ("name", "write", "options", "metrics"),
    [
        ("davis2017", None, {}, ["JAndF"]),
        ("youtube_vis_2021", write_youtube_vis, {"vocabulary": None}, ["TrackAP"]),
        ("vipseg", write_vipseg, {}, ["VPQ", "STQ"]),
        ("burst", write_burst, {}, ["HOTA"]),
    ],
)
def test_exact_model_scores_one(
    name: str, write: Any, options: dict[str, Any], metrics: list[str], tmp_path: Path
) -> None:
    root = tmp_path / "data"
    if write is None:
        dataset = squares_davis(root, 2)
    else:
        write((squares_sample(i) for i in range(2)), root, suffix=".png")
        dataset = open_dataset(name, root, **options)
    found = evaluate(dataset, OracleModel(), out=tmp_path / "out", **CLIPS)
    assert list(found.summary) == metrics
    mains = [next(iter(numbers.values())) for numbers in found.summary.values()]
    assert mains == pytest.approx([1.0] * len(metrics))
    assert found.counts == {
        "videos": 2,
        "judged": 2,
        "frames": 28,
        "annotated_frames": 28,
        "objects": 6,
    }
    # What was kept scores the same.
    kept = evaluate(dataset, predictions=tmp_path / "out", out=tmp_path / "kept")
    assert repr(kept.summary) == repr(found.summary)


def test_files(tmp_path: Path) -> None:
    dataset = squares_davis(tmp_path / "data")
    out = tmp_path / "out"
    found = evaluate(dataset, Clumsy(), out=out, about={"root": "here"}, **CLIPS)
    assert 0 < found.score < 1
    names = [*dataset.names]
    assert sorted(os.listdir(out)) == [
        "evaluation.json",
        "metrics.json",
        "per_video.csv",
        "predictions",
        "records",
        "table.txt",
    ]
    assert sorted(os.listdir(out / "predictions")) == names
    saved = read_result(out / "predictions" / names[0])
    assert sorted(track.id for track in saved.tracks) == [1, 3, 4]
    content = json.loads((out / "metrics.json").read_text())
    assert content["summary"] == found.summary
    assert content["per_video"] == found.per_video
    assert content["counts"] == found.counts
    run = content["run"]
    assert run["dataset"]["name"] == "davis2017"
    assert run["settings"] == CLIPS
    assert run["about"] == {"root": "here"}
    assert run["model"]["class"] == "Clumsy"
    assert len(run["model"]["weights_sha256"]) == 64
    assert run["made_with"][0]["torch"] == torch.__version__
    rows = list(csv.DictReader((out / "per_video.csv").open()))
    assert [row["video"] for row in rows] == names
    assert float(rows[1]["JAndF J_mean"]) == found.per_video[names[1]]["JAndF"]["J_mean"]
    table = (out / "table.txt").read_text().splitlines()
    assert len({len(line) for line in table}) == 1
    assert table[0].split()[:4] == ["x", "100", "J&F", "J_mean"]
    assert [line.split()[0] for line in table[2:5]] == names
    assert table[-1].startswith("davis2017, 3 videos")
    assert f"{100 * found.score:.2f}" in table[-1]


def test_interrupted_evaluation_is_taken_up(
    tmp_path: Path, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = squares_davis(tmp_path / "data")
    model = Clumsy()
    whole = evaluate(dataset, model, out=tmp_path / "whole", **CLIPS)
    asked.clear()
    segment = evaluation_source.segment

    def interrupted(model: Any, source: Any, task: Any, **settings: Any) -> Any:
        if source.name == "squares1":
            raise KeyboardInterrupt
        return segment(model, source, task, **settings)

    with monkeypatch.context() as patch:
        patch.setattr(evaluation_source, "segment", interrupted)
        with pytest.raises(KeyboardInterrupt):
            evaluate(dataset, model, out=tmp_path / "out", **CLIPS)
    assert asked == ["squares0"]
    assert not (tmp_path / "out" / "metrics.json").exists()
    again = evaluate(dataset, model, out=tmp_path / "out", **CLIPS)
    assert asked == ["squares0", "squares1", "squares2"]
    assert again.summary == whole.summary
    for name in ("metrics.json", "per_video.csv", "table.txt", "evaluation.json"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    evaluate(dataset, model, out=tmp_path / "out", **CLIPS)
    assert len(asked) == 3


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills processes that it forks")
def test_killed_at_any_moment(tmp_path: Path) -> None:
    path = os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "kernels")])
    words = [sys.executable, "-m", "tests.inference.evaluation.killed", str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    process = subprocess.run(
        words, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=120
    )
    assert process.returncode == 0, process.stderr
    found = json.loads(process.stdout)
    videos = found["asked"]
    assert videos == ["squares0", "squares1"]
    deaths = found["deaths"]
    assert len(deaths) >= 18
    for death in deaths:
        assert death["signal"] == 9
        assert death["asked"] == [name for name in videos if name not in death["done"]]
        assert death["kept"]
        assert death["same"]
        assert death["files"]
    assert {len(death["done"]) for death in deaths} == {0, 1, 2}


def test_shards_together_are_the_whole(tmp_path: Path, asked: list[str]) -> None:
    dataset = squares_davis(tmp_path / "data")
    model = Clumsy()
    whole = evaluate(dataset, model, out=tmp_path / "whole", **CLIPS)
    asked.clear()
    out = tmp_path / "out"
    first = evaluate(dataset, model, out=out, shard=(0, 2), **CLIPS)
    assert asked == ["squares0", "squares2"]
    assert first.missing == ("squares1",)
    assert not (out / "metrics.json").exists()
    assert "2 of 3 videos" in first.table()
    second = evaluate(dataset, model, out=out, shard=(1, 2), **CLIPS)
    assert asked == ["squares0", "squares2", "squares1"]
    assert second.missing == ()
    assert second.summary == whole.summary
    assert (out / "metrics.json").read_bytes() == (tmp_path / "whole/metrics.json").read_bytes()
    evaluate(dataset, model, out=out, **CLIPS)
    assert len(asked) == 3
    with pytest.raises(ValueError, match="other shards"):
        evaluate(dataset, model, out=out, shard=(0, 2), restart=True, **CLIPS)
    with pytest.raises(ValueError, match=r"shard must be \(i, n\)"):
        evaluate(dataset, model, out=out, shard=(2, 2), **CLIPS)


def test_limit(tmp_path: Path) -> None:
    torch.manual_seed(0)
    dataset = squares_davis(tmp_path / "data")
    model = Clumsy()
    found = evaluate(dataset, model, out=tmp_path / "out", limit=1, **CLIPS)
    assert (list(found.per_video), found.counts["videos"]) == (["squares0"], 1)
    # More videos make the numbers of fewer stale.
    partly = evaluate(dataset, model, out=tmp_path / "out", shard=(1, 3), **CLIPS)
    assert partly.missing == ("squares2",)
    assert not (tmp_path / "out" / "metrics.json").exists()
    with pytest.raises(ValueError, match="limit must be at least 1"):
        evaluate(dataset, Clumsy(), out=tmp_path / "out", limit=0, **CLIPS)


def test_records_of_another_run_are_refused(tmp_path: Path, asked: list[str]) -> None:
    dataset = squares_davis(tmp_path / "data", 2)
    torch.manual_seed(0)
    model = OracleModel()
    out = tmp_path / "out"
    evaluate(dataset, model, out=out, **CLIPS)
    with pytest.raises(ValueError, match=r"settings.clip_length was 4, is 6"):
        evaluate(dataset, model, out=out, clip_length=6, overlap=2)
    with pytest.raises(ValueError, match=r"metrics.GScore was not there"):
        evaluate(dataset, model, out=out, metrics=["JAndF", GScore], **CLIPS)
    with pytest.raises(ValueError, match=r"about.split was None, is 'train'"):
        evaluate(dataset, model, out=out, about={"split": "train"}, **CLIPS)
    with pytest.raises(ValueError, match=r"dataset.names_sha256 was"):
        evaluate(only(dataset, [dataset[1], dataset[0]]), model, out=out, **CLIPS)
    saved = save_predictions(dataset, tmp_path / "saved", perfect)
    with pytest.raises(ValueError, match=r"model is not there .*predictions was not there"):
        evaluate(dataset, predictions=saved, out=out)
    with torch.no_grad():
        model.layer.bias.add_(1)
    with pytest.raises(ValueError, match=r"model.weights_sha256 was .*--restart"):
        evaluate(dataset, model, out=out, **CLIPS)
    assert len(asked) == 2
    evaluate(dataset, model, out=out, restart=True, **CLIPS)
    assert len(asked) == 4
    other = json.loads((out / "records" / "squares0.json").read_text()) | {"run": "0"}
    (out / "records" / "squares0.json").write_text(json.dumps(other))
    with pytest.raises(ValueError, match=r"squares0.json: was made with other settings"):
        evaluate(dataset, model, out=out, **CLIPS)


def test_folders_of_others_are_refused(tmp_path: Path) -> None:
    dataset = squares_davis(tmp_path / "data", 1)
    (tmp_path / "mine" / "records").mkdir(parents=True)
    for restart in (False, True):
        with pytest.raises(ValueError, match=r"holds records, but no evaluation\.json"):
            evaluate(dataset, OracleModel(), out=tmp_path / "mine", restart=restart)
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError, match="file, not a folder"):
        evaluate(dataset, OracleModel(), out=tmp_path / "file")


def test_predictions_that_change_are_judged_again(tmp_path: Path) -> None:
    dataset = made_dataset("davis2017", tmp_path / "data", 2)
    saved = save_predictions(dataset, tmp_path / "saved", shifted)
    first = evaluate(dataset, predictions=saved, out=tmp_path / "out")
    times = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "out/records").iterdir()}
    save_result(perfect(dataset[0], "vos"), saved / dataset.names[0], overwrite=True)
    second = evaluate(dataset, predictions=saved, out=tmp_path / "out")
    assert second.per_video[dataset.names[0]]["JAndF"]["J&F"] == 1
    assert second.per_video[dataset.names[1]] == first.per_video[dataset.names[1]]
    unchanged = f"{dataset.names[1]}.json"
    assert (tmp_path / "out/records" / unchanged).stat().st_mtime_ns == times[unchanged]


def test_predictions_in_the_folder_of_the_evaluation_are_safe(tmp_path: Path) -> None:
    dataset = squares_davis(tmp_path / "data", 1)
    out = tmp_path / "out"
    evaluate(dataset, OracleModel(), out=out, **CLIPS)
    for place in (out, out / "predictions"):
        with pytest.raises(ValueError, match="lie in the folder of the evaluation"):
            evaluate(dataset, predictions=place, out=out, restart=True)
    assert (out / "predictions" / "squares0" / "result.json").exists()


def test_videos_without_annotation_are_only_segmented(tmp_path: Path) -> None:
    dataset = squares_davis(tmp_path / "data", 2)
    hidden = replace(dataset[1], annotated=())
    nothing = replace(dataset[0], name="nothing", hint_frames={})
    mixed = only(dataset, [dataset[0], hidden, nothing])
    out = tmp_path / "out"
    found = evaluate(mixed, OracleModel(), out=out, **CLIPS)
    assert found.score == 1
    assert list(found.per_video) == ["squares0"]
    assert (found.counts["videos"], found.counts["judged"]) == (3, 1)
    assert sorted(os.listdir(out / "predictions")) == ["squares0", "squares1"]
    unknown = evaluate(only(dataset, [hidden]), OracleModel(), out=tmp_path / "none", **CLIPS)
    assert np.isnan(unknown.score)
    content = json.loads((tmp_path / "none" / "metrics.json").read_text())
    assert content["summary"]["JAndF"]["J&F"] is None


def test_memory_holds_one_video(tmp_path: Path) -> None:
    """At most the last sample is still alive when the next is asked for."""
    dataset = squares_davis(tmp_path / "data", 1)
    alive: list[weakref.ref[Any]] = []
    most = [0]

    class Endless:
        name, task, vocabulary = dataset.name, dataset.task, dataset.vocabulary
        names = tuple(f"v{i}" for i in range(3))

        def __len__(self) -> int:
            return len(self.names)

        def __getitem__(self, index: int) -> VideoSample:
            gc.collect()
            most[0] = max(most[0], sum(ref() is not None for ref in alive))
            sample = replace(dataset[0], name=self.names[index])
            alive.append(weakref.ref(sample))
            return sample

    evaluate(Endless(), OracleModel(), out=tmp_path / "out", **CLIPS)
    assert len(alive) == 3
    assert most[0] <= 1


def test_wrong_models_and_settings(tmp_path: Path) -> None:
    dataset = squares_davis(tmp_path / "data", 1)
    out = tmp_path / "out"
    with pytest.raises(ValueError, match="either a model or predictions"):
        evaluate(dataset, out=out)
    with pytest.raises(ValueError, match="either a model or predictions"):
        evaluate(dataset, OracleModel(), tmp_path, out=out)
    with pytest.raises(ValueError, match="clip_length mean nothing without a model"):
        evaluate(dataset, predictions=tmp_path, out=out, clip_length=3)
    with pytest.raises(TypeError, match="video model"):
        evaluate(dataset, nn.Linear(1, 1), out=out)
    with pytest.raises(ValueError, match="device nowhere"):
        evaluate(dataset, OracleModel(), out=out, device="nowhere")
    vss = made_dataset("vspw", tmp_path / "vspw", 1)
    with pytest.raises(
        ValueError, match=r"OracleModel cannot do the task 'vss' of vspw, only vis, vps, vos, pet"
    ):
        evaluate(vss, OracleModel(), out=out)
    assert not out.exists()
