"""Whole models and their parts: with our fastest backends, and with the references alone."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from segblocks.bench.shapes import CLIPS, Clip
from segblocks.bench.suite import OURS, Contender, Problem, Setting, Suite
from segblocks.nn import ClipOutput, DecoderContext, DecoderOutput
from segblocks.tasks import VIS
from segblocks.zoo import create_model, list_models
from segblocks.zoo.registry import get_entry

_ENVIRONMENT_VARIABLE = "SEGBLOCKS_BACKEND"

PARTS = ("backbone", "neck", "decoder")

# A mask that changes its side at a rounding error changes all that follows.
_TOLERANCE = {"fp32": 1e-3, "fp16": 0.3, "bf16": 0.3}


class _Given(NamedTuple):
    """A model or a part of it, called with what the model calls it with; and its autocast."""

    call: Callable[[], Any]
    autocast: Callable[[], torch.autocast]


def model_names() -> list[str]:
    """List what :func:`model_suite` takes: models, and ``model.part``.

    Example:
        >>> {"tarvis_resnet50", "univs_nano.decoder"} <= set(model_names())
        True
    """
    models = list_models()
    return [*models, *(f"{model}.{part}" for model in models for part in PARTS)]


def model_suite(name: str) -> Suite:
    """Compare backends inside a model or a part of one, on a clip and the task VIS.

    Weights are random, text embeddings come from hashes; gradients are those of the weights.

    Args:
        name: one of :func:`model_names`.

    Returns:
        The suite.

    Example:
        >>> model_suite("tarvis_nano.neck").contenders[1].name
        'reference'
    """
    return Suite(
        name,
        CLIPS,
        small=("128x192_T3",),
        make=partial(_make, name),
        oracle=_reference,
        contenders=(
            Contender(OURS, "the backends that calls take that name none", _ours),
            Contender("reference", "every operation by its reference in PyTorch", _reference),
        ),
        tolerance=_TOLERANCE,
    )


def _make(name: str, shape: Clip, setting: Setting) -> Problem:
    system, _, part = name.partition(".")
    torch.manual_seed(0)
    model: Any = create_model(system, checkpoint="random", **_hashed_text(system))
    model.eval()
    _move_off_whole_pixels(model)
    model.to(setting.device)
    generator = torch.Generator().manual_seed(0)
    size = (1, shape.frames, 3, shape.height, shape.width)
    frames = torch.randint(0, 256, size, generator=generator).to(setting.device, torch.uint8)
    whole = partial(model, frames, VIS(_vocabulary(system)))
    call = _as_called(getattr(model, part), whole) if part else whole
    weights = tuple((getattr(model, part) if part else model).parameters())
    half = setting.dtype != "fp32"
    autocast = partial(torch.autocast, setting.device.type, setting.torch_dtype, enabled=half)
    return Problem(weights, _Given(call, autocast))


def _move_off_whole_pixels(model: nn.Module) -> None:
    """Fresh sampling offsets are whole pixels, where the gradient of bilinear sampling jumps."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.01)


def _hashed_text(system: str) -> dict[str, Any]:
    """No download: a model takes the same time whatever its words mean."""
    fields = {field.name for field in dataclasses.fields(get_entry(system).config)}
    dim = getattr(get_entry(system).config, "text_dim", None)
    offered = {"text_encoder": f"hash/{dim}", "text_templates": "name", "templates": "name"}
    return {key: value for key, value in offered.items() if key in fields}


def _vocabulary(system: str) -> str:
    return "coco_panoptic" if system.endswith("_nano") else "youtube_vis_2021"


def _as_called(part: nn.Module, whole: Callable[[], Any]) -> Callable[[], Any]:
    """The part alone, on what the whole model hands it."""
    seen: list[tuple[Any, ...]] = []
    hook = part.register_forward_pre_hook(lambda _, inputs: seen.append(inputs))
    with torch.no_grad():
        whole()
    hook.remove()
    return lambda: part(*map(_unused, seen[0]))


def _unused(value: Any) -> Any:
    """A context that no decoder has written into yet."""
    if isinstance(value, DecoderContext):
        return dataclasses.replace(value, prediction=None, predictions=[])
    return value


def _ours(given: _Given, *weights: Tensor) -> tuple[Tensor, ...]:
    with given.autocast():
        return _tensors(given.call())


def _reference(given: _Given, *weights: Tensor) -> tuple[Tensor, ...]:
    with _environment("reference"), given.autocast():
        return _tensors(given.call())


@contextmanager
def _environment(backend: str) -> Iterator[None]:
    before = os.environ.get(_ENVIRONMENT_VARIABLE)
    os.environ[_ENVIRONMENT_VARIABLE] = backend
    try:
        yield
    finally:
        del os.environ[_ENVIRONMENT_VARIABLE]
        if before is not None:
            os.environ[_ENVIRONMENT_VARIABLE] = before


def _tensors(output: Any) -> tuple[Tensor, ...]:
    """What is compared of an output, and where gradients begin."""
    if isinstance(output, Mapping):
        return tuple(output.values())
    if isinstance(output, DecoderOutput):
        return (output.predictions[-1].mask_embeddings,)
    assert isinstance(output, ClipOutput)
    return (output.mask_logits,)
