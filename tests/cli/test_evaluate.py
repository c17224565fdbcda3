"""``segblocks evaluate``: from a dataset's folder to its number, and what users get wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from segblocks import zoo
from segblocks.cli import build_parser, main
from segblocks.data.synthetic import open_held_out
from segblocks.inference.evaluation import source as evaluation_source
from segblocks.zoo.checkpoint import file_hash, save_safetensors
from segblocks.zoo.rule_weights import fill_by_rule
from tests.inference.evaluation.evaluated import made_dataset, perfect, save_predictions

MODEL = "tarvis_resnet50"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "w.safetensors"
    model: Any = zoo.create_model(MODEL)
    fill_by_rule(model)
    save_safetensors(model.state_dict(), path)
    return path


def words(folder: Path, *options: str, dataset: str = "davis2017") -> list[str]:
    common = ["evaluate", "--dataset", dataset, "--root", str(folder / "data")]
    return [*common, "--out", str(folder / "out"), *options]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A tiny DAVIS, and perfect predictions for it."""
    dataset = made_dataset("davis2017", tmp_path / "data", 2)
    save_predictions(dataset, tmp_path / "saved", perfect)
    return tmp_path


def test_model_end_to_end(
    folder: Path,
    checkpoint: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = ["--model", MODEL, "--checkpoint", str(checkpoint), "--device", "cpu"]
    options = [*model, "--short-side", "0", "--no-progress"]
    assert main(words(folder, *options, "--limit", "1")) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:3] == ["x", "100", "J&F"]
    assert lines[-1] == f"all numbers: {folder / 'out' / 'metrics.json'}"
    content = json.loads((folder / "out" / "metrics.json").read_text())
    assert content["counts"]["videos"] == 1
    run = content["run"]
    assert run["model"]["checkpoint"]["sha256"] == file_hash(checkpoint)
    assert run["about"]["model"] == MODEL
    assert run["about"]["root"] == str(folder / "data")
    assert run["settings"] == {"short_side": 0}
    assert run["made_with"][0]["device"] == "cpu"

    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("this video is done")

    monkeypatch.setattr(evaluation_source, "segment", never)
    assert main(words(folder, *options, "--limit", "1")) == 0
    capsys.readouterr()
    other = [*model, "--short-side", "32", "--no-progress"]
    assert main(words(folder, *other, "--limit", "1")) == 2
    assert "settings.short_side was 0, is 32" in capsys.readouterr().err


def test_without_out_the_folder_is_named_like_the_dataset(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    command = ["evaluate", "--dataset", "davis2017", "--root", "data", "--no-progress"]
    assert main([*command, "--predictions", "saved"]) == 0
    place = Path("segblocks-evaluation", "davis2017-val", "metrics.json")
    assert capsys.readouterr().out.splitlines()[-1] == f"all numbers: {place}"
    assert json.loads((folder / place).read_text())["counts"]["videos"] == 2


def test_predictions_and_submission(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    saved = ["--predictions", str(folder / "saved"), "--no-progress"]
    assert main(words(folder, *saved, "--submission", str(folder / "zip"))) == 0
    printed = capsys.readouterr().out
    assert "davis2017, 2 videos  100.00" in printed
    assert printed.splitlines()[-1] == f"submission: {folder / 'zip'}"
    submitted = ["--predictions", str(folder / "zip"), "--out", str(folder / "again")]
    assert main(words(folder, *submitted, "--no-progress")) == 0
    assert "davis2017, 2 videos  100.00" in capsys.readouterr().out
    first, second = (
        json.loads((folder / name / "metrics.json").read_text())["per_video"]
        for name in ("out", "again")
    )
    assert first == second


def test_shards(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--predictions", str(folder / "saved"), "--no-progress"]
    assert main(words(folder, *options, "--shard", "1/2")) == 0
    assert "1 of 2 videos are done; these are not the numbers" in capsys.readouterr().out
    assert main(words(folder, *options, "--shard", "2/2")) == 0
    assert "davis2017, 2 videos" in capsys.readouterr().out


def test_long_tables_are_in_the_file_alone(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("segblocks.cli.evaluate._MAX_LINES", 1)
    assert main(words(folder, "--predictions", str(folder / "saved"), "--no-progress")) == 0
    assert len(capsys.readouterr().out.splitlines()) == 4
    assert len((folder / "out" / "table.txt").read_text().splitlines()) == 6


def test_progress_bar_is_shown_unless_told(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--predictions", str(folder / "saved")]
    assert main(words(folder, *options)) == 0
    assert "2/2" in capsys.readouterr().err
    assert main(words(folder, *options, "--no-progress")) == 0
    assert capsys.readouterr().err == ""


def test_metrics(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dataset = made_dataset("vipseg", tmp_path / "data", 1)
    save_predictions(dataset, tmp_path / "saved", perfect)
    options = ["--predictions", str(tmp_path / "saved"), "--no-progress", "--metrics", "stq,pq"]
    assert main(words(tmp_path, *options, dataset="vipseg")) == 0
    assert capsys.readouterr().out.splitlines()[0].split()[2:] == ["STQ", "AQ", "SQ", "PQ"]


def test_options_of_the_dataset(folder: Path) -> None:
    options = ["--predictions", str(folder / "saved"), "--no-progress"]
    named = ["--dataset-option", "resolution=480p", "--dataset-option", "year=2017"]
    assert main(words(folder, *options, *named)) == 0
    content = json.loads((folder / "out" / "metrics.json").read_text())
    assert content["run"]["about"]["options"] == {"resolution": "480p", "year": 2017}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--model", MODEL], "needs --checkpoint"),
        ([], "either --model with --checkpoint, or --predictions"),
        (["--model", MODEL, "--predictions", "x"], "either --model"),
        (["--predictions", "x", "--clip-length", "3"], "does not take --clip-length"),
        (["--predictions", "x", "--official-compat"], "does not take --official-compat"),
        (["--predictions", "nowhere"], "nowhere: no such folder of predictions"),
        (["--predictions", ".", "--dataset", "davis2O17"], "did you mean 'davis2017'"),
        (["--predictions", ".", "--split", "nosplit"], "nosplit"),
        (["--predictions", ".", "--dataset-option", "colour=3"], "--dataset-option: "),
        (["--predictions", ".", "--metrics", "hota,JF"], "has no metric 'hota'"),
        (["--predictions", ".", "--limit", "1", "--submission", "s"], "--submission needs all"),
        (["--predictions", ".", "--submission", "."], "is there already"),
    ],
)
def test_mistakes_are_named(
    folder: Path,
    options: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(folder)
    assert main(words(folder, *options)) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert len(captured.err.splitlines()) == 1
    assert not (folder / "out").exists()


def test_synthetic_videos_need_no_folder(
    tmp_path: Path,
    checkpoint: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    world = open_held_out("tiny", seed=1, length=2, task="vps", num_frames=3)
    save_predictions(world, tmp_path / "saved", perfect)
    command = ["evaluate", "--dataset", "synthetic", "--predictions", "saved", "--no-progress"]
    for option in ("preset=tiny", "seed=1", "length=2", "task=vps", "num_frames=3"):
        command += ["--dataset-option", option]
    assert main(command) == 0
    assert "synthetic, 2 videos" in capsys.readouterr().out
    content = json.loads(Path("segblocks-evaluation/synthetic-vps/metrics.json").read_text())
    assert content["summary"]["STQ"]["STQ"] == pytest.approx(1)
    assert content["run"]["about"]["root"] is None
    assert content["run"]["about"]["options"]["preset"] == "tiny"
    for wrong, message in (
        (["--root", "."], "are made, and have no --root"),
        (["--dataset", "davis2017"], "of an official dataset need its --root"),
        (["--dataset-option", "preset=tinny"], "did you mean 'tiny'"),
    ):
        assert main([*command, *wrong]) == 2
        assert message in capsys.readouterr().err


def test_missing_root(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words(tmp_path, "--predictions", ".")) == 2
    assert "data" in capsys.readouterr().err


def test_task_that_the_model_cannot_do(
    tmp_path: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made_dataset("ref_youtube_vos", tmp_path / "data", 1)
    options = ["--model", MODEL, "--checkpoint", str(checkpoint), "--device", "cpu"]
    assert main(words(tmp_path, *options, dataset="ref_youtube_vos")) == 2
    assert "TarViS cannot do the task 'refvos' of ref_youtube_vos" in capsys.readouterr().err


@pytest.mark.parametrize(
    "options",
    [["--shard", "0/2"], ["--shard", "3/2"], ["--limit", "-1"], ["--dataset-option", "x"]],
)
def test_unreadable_words_are_refused(options: list[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as stopped:
        build_parser().parse_args(words(tmp_path, *options))
    assert stopped.value.code == 2
