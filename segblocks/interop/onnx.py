"""Models of the zoo as ONNX files."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import torch

from segblocks._files import expand, write_atomically
from segblocks._optional import require
from segblocks.interop.exported import INPUTS, OUTPUTS, ClipProgram, Signature, trace
from segblocks.tasks import Task
from segblocks.zoo.clip_model import ClipModel

#: Under which the file holds its signature, as JSON.
METADATA_KEY = "segblocks"


def export_onnx(
    model: ClipModel,
    task: Task,
    size: tuple[int, int],
    num_frames: int,
    path: str | os.PathLike[str],
) -> Signature:
    """Write a model for one task and one size of a clip as one ONNX file.

    What goes in and out is that of :class:`~segblocks.interop.exported.ClipProgram`; the names are
    ``frames`` and ``hints``, ``mask_logits`` and ``class_logits``. The file says what they mean:
    its metadata has the signature, see :func:`read_signature`.

    Args:
        model: of the zoo, in evaluation mode.
        task: with classes or with hints.
        size: (H, W) of the frames.
        num_frames: T of a clip.
        path: the file, which appears whole or not at all.

    Returns:
        The signature of the file.

    Raises:
        TypeError: no model of the zoo, or several tasks.
        ValueError: a task that cannot be exported, sizes that are not positive, or a model in
            training mode.
        OSError: the file cannot be written.
        ImportError: onnx or onnxscript are missing, of the extra ``onnx``.
    """
    for package in ("onnx", "onnxscript"):
        require(package, "onnx")
    path = expand(path)
    if not path.absolute().parent.is_dir():
        raise FileNotFoundError(f"{path}: there is no folder {path.absolute().parent}")
    program = ClipProgram(model, task, size, num_frames)
    exported = _to_onnx(program)
    exported.model.metadata_props[METADATA_KEY] = json.dumps(program.signature.as_dict())
    write_atomically(path, lambda temporary: exported.save(temporary, external_data=False))
    return program.signature


def read_signature(path: str | os.PathLike[str]) -> Signature:
    """Read what goes into a file of :func:`export_onnx` and what comes out.

    Args:
        path: the file; only its metadata is looked at.

    Returns:
        The signature.

    Raises:
        ValueError: the file was not written by segblocks.
        ImportError: onnx is missing.
    """
    onnx = require("onnx", "onnx")
    record = onnx.load(Path(path), load_external_data=False)
    found = {entry.key: entry.value for entry in record.metadata_props}
    if METADATA_KEY not in found:
        raise ValueError(f"{path}: this ONNX file was not written by segblocks")
    return Signature.from_dict(json.loads(found[METADATA_KEY]))


def _to_onnx(program: ClipProgram) -> Any:
    signature = program.signature
    exported = torch.onnx.export(
        trace(program),
        program.example_inputs(),
        input_names=INPUTS[: len(signature.inputs)],
        output_names=OUTPUTS[: len(signature.outputs)],
        dynamo=True,
        optimize=False,
        verbose=False,
    )
    assert exported is not None  # which it is only where it has a file to write
    return exported
