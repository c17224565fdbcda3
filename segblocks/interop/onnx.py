"""Models of the zoo as ONNX files."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
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
    # Descriptors of shapes are made in float64, for which onnxruntime has no arctangent.
    replaced: dict[Callable[..., Any], Callable[..., Any]] = {torch.ops.aten.atan2.default: _atan2}
    exported = torch.onnx.export(
        trace(program),
        program.example_inputs(),
        input_names=INPUTS[: len(signature.inputs)],
        output_names=OUTPUTS[: len(signature.outputs)],
        dynamo=True,
        custom_translation_table=replaced,
        optimize=False,
        verbose=False,
    )
    assert exported is not None  # which it is only where it has a file to write
    return exported


def _atan2(y: Any, x: Any) -> Any:
    """The angle of points, in single precision whatever they are."""
    from onnx import TensorProto
    from onnxscript import opset18

    op: Any = opset18
    down, right = op.Cast(y, to=TensorProto.FLOAT), op.Cast(x, to=TensorProto.FLOAT)
    zero, half_turn = (op.Cast(value, to=TensorProto.FLOAT) for value in (0.0, math.pi))
    angle = op.Atan(op.Div(down, right))
    turned = op.Where(op.Less(down, zero), op.Sub(angle, half_turn), op.Add(angle, half_turn))
    angle = op.Where(op.Less(right, zero), turned, angle)
    # Of the origin, whose angle is 0.
    angle = op.Where(op.IsNaN(angle), zero, angle)
    return op.Cast(angle, to=y.dtype)
