"""ONNX files of models: onnxruntime agrees with PyTorch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from segblocks import VIS, VOS, VPS, RefVOS
from segblocks.interop.exported import ClipProgram, Signature
from segblocks.interop.onnx import export_onnx, read_signature
from segblocks.tasks import Task
from segblocks.zoo.clip_model import ClipModel
from tests.interop.small_models import (
    OTHER_HINTS,
    SIZE,
    clip,
    prompted_model,
    rectangles,
    small_tarvis,
)

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
HINTED = VOS(rectangles((5, 7), (30, 20)))


def run(path: Path, signature: Signature, *inputs: torch.Tensor) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(path)
    named = zip(signature.inputs, (x.numpy() for x in inputs), strict=True)
    return session.run(list(signature.outputs), dict(named))


def check(model: ClipModel, task: Task, num_frames: int, path: Path, *hints: torch.Tensor) -> None:
    signature = export_onnx(model, task, SIZE, num_frames, path)
    assert read_signature(path) == signature
    inputs = (clip(1, num_frames), *hints)
    found = run(path, signature, *inputs)
    with torch.no_grad():
        expected = ClipProgram(model, task, SIZE, num_frames)(*inputs)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b.numpy(), rtol=1e-4, atol=1e-4)


def test_onnxruntime_agrees_for_hints_that_the_export_has_not_seen(tmp_path: Path) -> None:
    path = tmp_path / "vos.onnx"
    check(small_tarvis(), HINTED, 1, path, rectangles((40, 0), (0, 30)))
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "task", "hints"),
    [
        ("tarvis_nano", VIS("synthetic"), ()),
        ("tarvis_nano", HINTED, (rectangles((40, 0), (0, 30)),)),
        ("mask2former_vis_nano", VIS("synthetic"), ()),
        ("tmt_vis_nano", VIS("union"), ()),
        ("univs_nano", VIS("synthetic"), ()),
        ("univs_nano", HINTED, (rectangles((40, 0), (0, 0), size=(64, 64)),)),
        ("univs_nano", RefVOS(["the red star", "a square"]), ()),
        ("gvseg_nano", VPS("synthetic"), ()),
        ("gvseg_nano", HINTED, (rectangles((40, 0), (0, 30)),)),
    ],
)
def test_nano_models(name: str, task: Task, hints: Any, tmp_path: Path) -> None:
    check(prompted_model(name), task, 2, tmp_path / "model.onnx", *hints)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gvseg_nano", "univs_nano"])
@pytest.mark.parametrize(("task", "other"), OTHER_HINTS)
def test_hints_are_an_input(name: str, task: Task, other: torch.Tensor, tmp_path: Path) -> None:
    model = prompted_model(name, checkpoint="random", decoder_layers=2)
    check(model, task, 2, tmp_path / "model.onnx", other)


def test_a_missing_folder_is_said_before_the_work(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        export_onnx(small_tarvis(), HINTED, SIZE, 1, tmp_path / "nowhere" / "x.onnx")


def test_a_failed_export_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="must have the size of the frames"):
        export_onnx(small_tarvis(), HINTED, (128, 128), 1, tmp_path / "x.onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_foreign_file_has_no_signature(tmp_path: Path) -> None:
    graph = onnx.helper.make_graph([], "empty", [], [])
    onnx.save(onnx.helper.make_model(graph), tmp_path / "x.onnx")
    with pytest.raises(ValueError, match="not written by segblocks"):
        read_signature(tmp_path / "x.onnx")
