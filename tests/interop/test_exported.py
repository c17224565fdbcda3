"""Exported programs do what their model does, without segblocks."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from segblocks import PET, VIS, VOS, RefVOS, create_model
from segblocks.interop.exported import ClipProgram, Signature, export_program, save_program, trace
from tests.interop.small_models import (
    OTHER_HINTS,
    SIZE,
    clip,
    prompted_model,
    rectangles,
    small_tarvis,
)

HINTED = VOS(rectangles((5, 7), (30, 20)), ids=[4, 2])
# All that a program of another process is allowed to know.
RUNNER = """
import sys
import torch
program, inputs, out = sys.argv[1:]
outputs = torch.export.load(program).module()(*torch.load(inputs, weights_only=True))
torch.save(list(outputs), out)
assert not [name for name in sys.modules if name.startswith("segblocks")]
"""


@pytest.fixture(scope="module")
def hinted() -> ClipProgram:
    return ClipProgram(small_tarvis(), HINTED, SIZE, 1)


def test_a_signature_says_what_axes_mean() -> None:
    signature = ClipProgram(small_tarvis(), VIS("synthetic"), SIZE, 2).signature
    assert signature.inputs == {"frames": (1, 2, 3, *SIZE)}
    classes = len(signature.classes)
    assert signature.outputs["class_logits"] == (1, 4, classes + 1)
    assert signature.outputs["mask_logits"] == (1, 4 + 1 + classes, 2, 16, 16)
    assert signature.groups == {
        "instance": (0, 4),
        "background": (4, 5),
        "semantic": (5, 5 + classes),
    }
    assert signature.object_ids == ()


def test_masks_of_objects_are_the_maximum_over_their_queries(hinted: ClipProgram) -> None:
    frames = clip(0)
    with torch.no_grad():
        (found,) = hinted(frames)
        output = hinted.model(frames, HINTED)
    assert hinted.signature.object_ids == (4, 2)
    for place, queries in enumerate(output.object_slices):
        expected = output.mask_logits[:, queries].amax(1)
        torch.testing.assert_close(found[:, place], expected, rtol=0, atol=0)


def test_hints_given_as_a_tensor_are_those_of_a_task(hinted: ClipProgram) -> None:
    frames, masks = clip(1), rectangles((40, 0), (0, 30))
    other = ClipProgram(hinted.model, VOS(masks), SIZE, 1)
    with torch.no_grad():
        (expected,) = other(frames)
        (found,) = hinted(frames, masks)
        (own,) = hinted(frames)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    assert not torch.equal(own, expected)


@pytest.mark.slow
def test_a_program_runs_without_segblocks_on_other_frames_and_hints(
    hinted: ClipProgram, tmp_path: Path
) -> None:
    signature = save_program(hinted.model, HINTED, SIZE, 1, tmp_path / "program.pt2")
    assert signature == hinted.signature
    inputs = [clip(2), rectangles((40, 0), (0, 30))]
    torch.save(inputs, tmp_path / "inputs.pt")
    files = [str(tmp_path / name) for name in ("program.pt2", "inputs.pt", "outputs.pt")]
    run = subprocess.run(
        [sys.executable, "-c", RUNNER, *files], cwd=tmp_path, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    (found,) = torch.load(files[2], weights_only=True)
    with torch.no_grad():
        (expected,) = hinted(*inputs)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    extra = {"signature.json": ""}
    torch.export.load(files[0], extra_files=extra)
    assert Signature.from_dict(json.loads(extra["signature.json"])) == signature


def test_signatures_survive_json() -> None:
    signature = ClipProgram(small_tarvis(), PET([(1, 2)]), SIZE, 1).signature
    assert signature.inputs["hints"] == (1, 2)
    assert Signature.from_dict(json.loads(json.dumps(signature.as_dict()))) == signature


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"model": torch.nn.Linear(2, 3)}, TypeError, "model must be one of the zoo.*Linear"),
        ({"task": [VIS("synthetic")]}, TypeError, "task must be one task"),
        ({"size": (0, 64)}, ValueError, r"size must be .*got \(0, 64\)"),
        ({"num_frames": 0}, ValueError, "num_frames positive"),
        ({"task": RefVOS("a dog")}, ValueError, "task must be one of vis.*got refvos"),
        ({"size": (128, 128), "task": HINTED}, ValueError, "must have the size of the frames"),
    ],
)
def test_what_cannot_be_exported_is_said_first(
    hinted: ClipProgram, change: dict[str, Any], error: type[Exception], message: str
) -> None:
    given = {"model": hinted.model, "task": VIS("synthetic"), "size": SIZE, "num_frames": 1}
    with pytest.raises(error, match=message):
        export_program(**{**given, **change})


def test_prompts_of_the_official_code_are_refused() -> None:
    model: Any = create_model(
        "univs_nano", checkpoint="random", decoder_layers=1, official_compat=True
    ).eval()
    with pytest.raises(ValueError, match=r"must have official_compat=False.*got UniVS"):
        export_program(model, HINTED, SIZE, 1)


def test_a_model_in_training_is_refused() -> None:
    with pytest.raises(ValueError, match=r"call model\.eval\(\)"):
        export_program(small_tarvis().train(), VIS("synthetic"), SIZE, 1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "task"),
    [
        ("mask2former_vis_nano", VIS("synthetic")),
        ("tmt_vis_nano", VIS("union")),
        ("tarvis_nano", VIS("synthetic")),
        ("tarvis_nano", HINTED),
        ("tarvis_nano", PET([(10, 20), (30, 5)])),
        ("gvseg_nano", VIS("synthetic")),
        ("univs_nano", VIS("synthetic")),
        ("univs_nano", RefVOS(["the red star", "a square"])),
    ],
)
def test_nano_models_are_exported(name: str, task: Any) -> None:
    program = ClipProgram(create_model(name, checkpoint="random").eval(), task, SIZE, 2)
    exported = trace(program).module()
    inputs = [clip(3, 2), *program.example_inputs()[1:]]
    with torch.no_grad():
        for found, expected in zip(exported(*inputs), program(*inputs), strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gvseg_nano", "univs_nano"])
@pytest.mark.parametrize(("task", "other"), OTHER_HINTS)
def test_hints_are_an_input(name: str, task: Any, other: torch.Tensor) -> None:
    program = ClipProgram(
        prompted_model(name, checkpoint="random", decoder_layers=2), task, SIZE, 2
    )
    exported = trace(program).module()
    frames = clip(3, 2)
    with torch.no_grad():
        (found,), (expected,), (own,) = (
            exported(frames, other),
            program(frames, other),
            program(frames),
        )
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(own, expected, rtol=1e-2, atol=1e-2)
