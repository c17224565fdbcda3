"""What is compared: one operation at named shapes, and the ways to compute it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
DIRECTIONS = ("fwd", "fwd+bwd")

OURS = "segblocks"


@dataclass(frozen=True)
class Setting:
    """Where and how a shape is computed.

    Attributes:
        device: of the tensors.
        dtype: of the values, a key of ``DTYPES``; coordinates stay float32.
        direction: of ``DIRECTIONS``; the second goes back to every tensor of the problem.
    """

    device: torch.device
    dtype: str
    direction: str

    @property
    def torch_dtype(self) -> torch.dtype:
        return DTYPES[self.dtype]


@dataclass(frozen=True)
class Problem:
    """The inputs of one shape.

    Attributes:
        tensors: what gradients are taken of.
        given: whatever else contenders read.
    """

    tensors: tuple[Tensor, ...]
    given: Any


Function = Callable[..., Tensor | tuple[Tensor, ...]]


def everywhere(setting: Setting) -> str | None:
    """Of a contender that nothing keeps from running."""
    return None


@dataclass(frozen=True)
class Contender:
    """One way to compute an operation.

    Attributes:
        name: in tables and files.
        about: one line: what it does.
        function: (given, *tensors) -> tensor or tensors.
        unavailable: setting -> why it cannot run, or None where it can.
    """

    name: str
    about: str
    function: Function
    unavailable: Callable[[Setting], str | None] = everywhere


@dataclass(frozen=True)
class Suite:
    """One operation and all ways to compute it.

    Attributes:
        name: of the operation.
        shapes: name -> shape, all of one dataclass of ``segblocks.bench.shapes``.
        small: names of those that a CPU computes in seconds.
        make: (shape, setting) -> problem, the same numbers at every call.
        oracle: (given, *tensors) -> what all contenders are compared with; it gets the tensors in
            float32.
        contenders: ours first.
        tolerance: type of the values -> largest relative error, in the 2-norm, of an output or a
            gradient.
    """

    name: str
    shapes: Mapping[str, Any]
    small: tuple[str, ...]
    make: Callable[[Any, Setting], Problem]
    oracle: Function
    contenders: tuple[Contender, ...]
    tolerance: Mapping[str, float]


TOLERANCE = {"fp32": 1e-4, "fp16": 1e-2, "bf16": 5e-2}


def xformers_unavailable(setting: Setting) -> str | None:
    """Why a contender that is made of xformers cannot run, or None where it can.

    Example:
        >>> xformers_unavailable(Setting(torch.device("cpu"), "fp32", "fwd"))
        'the operators of xformers run on CUDA alone'
    """
    if setting.device.type != "cuda":
        return "the operators of xformers run on CUDA alone"
    if find_spec("xformers") is None:
        return "xformers is not installed (pip install 'segblocks[xformers]')"
    return None
