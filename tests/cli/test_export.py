"""``segblocks export``: what it says of wrong words, and what it hands on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from segblocks.cli import main
from segblocks.interop.exported import Signature
from segblocks.tasks import CategoryTask, HintTask, RefVOS
from tests.interop.small_models import small_tarvis

WORDS = ["export", "--frames", "1", "--size", "64x96"]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("models") / "small"
    small_tarvis().save_pretrained(folder)
    return str(folder)


@pytest.mark.slow
def test_a_program_comes_out(
    saved: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "model.pt2"
    words = ["--model", saved, "--task", "vis", "--vocabulary", "synthetic", "--out", str(out)]
    assert main([*WORDS, *words]) == 0
    module = torch.export.load(out).module()
    shapes = [tuple(x.shape) for x in module(torch.zeros(1, 1, 3, 64, 96))]
    printed = capsys.readouterr().out
    assert "in   frames        1x1x3x64x96" in printed
    for name, shape in zip(("mask_logits", "class_logits"), shapes, strict=True):
        assert f"out  {name:12}  {'x'.join(map(str, shape))}" in printed


@pytest.mark.parametrize(
    ("words", "kind", "count"),
    [
        (["--task", "vps", "--vocabulary", "synthetic", "--classes", "star,sky"], "vps", 2),
        (["--task", "vos", "--objects", "3"], "vos", 3),
        (["--task", "pet"], "pet", 1),
        (["--task", "evs", "--objects", "2"], "evs", 2),
        (["--task", "refvos", "--text", "a star", "--text", "the red ring"], "refvos", 2),
    ],
)
def test_words_become_a_task(
    words: list[str],
    kind: str,
    count: int,
    saved: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[Any] = []

    def export(model: Any, task: Any, size: Any, num_frames: Any, path: Path) -> Signature:
        asked.extend([task, size, num_frames])
        path.write_bytes(b"")
        return Signature(task.name, num_frames, size, {}, {}, (), {}, ())

    monkeypatch.setattr("segblocks.interop.onnx.export_onnx", export)
    assert main([*WORDS, *words, "--model", saved, "--out", str(tmp_path / "x.onnx")]) == 0
    task, size, num_frames = asked
    assert (task.name, size, num_frames) == (kind, (64, 96), 1)
    if isinstance(task, CategoryTask):
        assert len(task.resolve()) == count
    else:
        assert isinstance(task, HintTask | RefVOS)
        assert len(task.object_ids) == count


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--task", "vis", "--out", "x.pb"], "must end in .onnx or .pt2"),
        (["--task", "vis", "--out", "nowhere/x.onnx"], "there is no folder nowhere"),
        (["--task", "vis", "--objects", "2", "--out", "x.onnx"], "--task vis takes no --objects"),
        (["--task", "vos", "--classes", "dog", "--out", "x.onnx"], "takes no --classes"),
        (["--task", "vos", "--text", "a dog", "--out", "x.onnx"], "--task vos takes no --text"),
        (["--task", "refvos", "--out", "x.onnx"], "--task refvos needs --text"),
        (["--task", "vos", "--objects", "0", "--out", "x.onnx"], "at least one mask"),
    ],
)
def test_wrong_words_are_told_at_once(
    words: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([*WORDS, "--model", "no_such_model", *words]) == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("size", ["64", "64x", "0x64", "64x64x64"])
def test_sizes_are_height_and_width(size: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--model", "tarvis_nano", "--task", "vis", "--frames", "1", "--out", "x.onnx"]
    with pytest.raises(SystemExit) as caught:
        main(["export", *words, "--size", size])
    assert caught.value.code == 2
    assert "expected HxW" in capsys.readouterr().err
