"""Run the contenders of a suite on one problem: first whether they are right, then how fast."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from segblocks.bench.measurement import BUDGET_SECONDS, Measurement, measure_together
from segblocks.bench.suite import Contender, Function, Problem, Setting, Suite

Outcome = tuple[Tensor, ...]

# Beside the largest of a problem's tensors.
NEGLIGIBLE = 1e-3


@dataclass(frozen=True)
class Row:
    """One contender on one problem.

    Attributes:
        op: name of the suite.
        shape: its name, or the sizes as they were given.
        sizes: field of the shape -> value.
        device: "cpu", "cuda".
        dtype: of the values.
        direction: "fwd" or "fwd+bwd".
        contender: its name.
        error: largest relative error of an output or a gradient; None where it did not run.
        taken: what it costs; None where it did not run or is wrong.
        refused: why there is no time; None where there is one.
    """

    op: str
    shape: str
    sizes: dict[str, int | float]
    device: str
    dtype: str
    direction: str
    contender: str
    error: float | None = None
    taken: Measurement | None = None
    refused: str | None = None


def compare(
    suite: Suite,
    name: str,
    shape: Any,
    setting: Setting,
    contenders: Sequence[Contender],
    *,
    budget: float = BUDGET_SECONDS,
    flush_l2: bool = False,
    clock: str = "wall",
) -> list[Row]:
    """Measure contenders in turns on the same numbers.

    A contender that fails, or whose outputs or gradients are off, is reported and not timed.

    Args:
        suite: of the operation.
        name: of the shape.
        shape: of ``suite.shapes`` or another of the same dataclass.
        setting: device, type, direction.
        contenders: of the suite.
        budget: seconds of measuring each.
        flush_l2: empty the cache of a GPU before each call.
        clock: of ``measurement.CLOCKS``.

    Returns:
        One row a contender.

    Raises:
        ValueError: sizes that the operation cannot have.
    """
    checked = prepare(suite, shape, setting, contenders)
    calls = [found.call for found in checked if found.call is not None]
    taken = iter(
        measure_together(calls, setting.device, budget=budget, flush_l2=flush_l2, clock=clock)
    )
    where = (suite.name, name, dataclasses.asdict(shape))
    how = (setting.device.type, setting.dtype, setting.direction)
    return [
        Row(
            *(*where, *how),
            contender.name,
            found.error,
            None if found.call is None else next(taken),
            found.refused,
        )
        for contender, found in zip(contenders, checked, strict=True)
    ]


class Prepared(NamedTuple):
    """A contender before the clock.

    Attributes:
        call: what to time; None where it did not run or is wrong.
        error: as in :class:`Row`.
        refused: as in :class:`Row`.
    """

    call: Callable[[], Outcome] | None
    error: float | None
    refused: str | None


def prepare(
    suite: Suite, shape: Any, setting: Setting, contenders: Sequence[Contender]
) -> list[Prepared]:
    """Compare contenders with the oracle, each once.

    Args:
        suite: of the operation.
        shape: of ``suite.shapes`` or another of the same dataclass.
        setting: device, type, direction.
        contenders: of the suite.

    Returns:
        One a contender: a call, or why there is none. Where the oracle itself fails, as it does
        without memory, there is no call at all.

    Example:
        >>> from segblocks.bench import parse_shape, ragged_cross_attention
        >>> suite = ragged_cross_attention.SUITE
        >>> _, shape = parse_shape("background_points=9,object_points=3,keys=20", suite.shapes)
        >>> setting = Setting(torch.device("cpu"), "fp32", "fwd")
        >>> [found.error for found in prepare(suite, shape, setting, suite.contenders[:1])]
        [0.0]
    """
    # Earlier shapes may have used up the recompilations that PyTorch allows; it then goes on
    # uncompiled without a word. Where nothing was compiled, nothing has to be loaded for this.
    if "torch._dynamo" in sys.modules:
        torch.compiler.reset()
    try:
        problem = suite.make(shape, setting)
        wanted = _wanted(suite, problem, setting)
    except RuntimeError as failure:
        reason = f"nothing to compare with, the oracle failed: {_first_line(failure)}"
        return [Prepared(None, None, reason) for _ in contenders]
    return [_check(contender, problem, setting, wanted, suite) for contender in contenders]


def _check(
    contender: Contender, problem: Problem, setting: Setting, wanted: Outcome, suite: Suite
) -> Prepared:
    if reason := contender.unavailable(setting):
        return Prepared(None, None, reason)
    try:
        call = _call(contender.function, problem, setting)
        error = _largest_error(call(), wanted)
    except (RuntimeError, ValueError, ImportError) as failure:
        return Prepared(None, None, f"failed: {_first_line(failure)}")
    limit = suite.tolerance[setting.dtype]
    # A NaN is not within any limit.
    if not error <= limit:
        reason = f"wrong: relative error {error:.1e}, allowed {limit:.0e}"
        return Prepared(None, error, reason)
    return Prepared(call, error, None)


def _wanted(suite: Suite, problem: Problem, setting: Setting) -> Outcome:
    wide = [t if t.dtype == torch.float32 else t.detach().float() for t in problem.tensors]
    return _call(suite.oracle, Problem(tuple(wide), problem.given), setting)()


def _call(function: Function, problem: Problem, setting: Setting) -> Callable[[], Outcome]:
    """What is timed; it returns the outputs, and after them the gradients if there are any."""

    def forward() -> Outcome:
        outputs = function(problem.given, *problem.tensors)
        return (outputs,) if isinstance(outputs, Tensor) else outputs

    def without_gradients() -> Outcome:
        with torch.no_grad():
            return forward()

    if setting.direction == "fwd":
        return without_gradients
    cotangents = [_cotangent(output) for output in without_gradients()]
    leaves = [tensor.requires_grad_() for tensor in problem.tensors]

    def both() -> Outcome:
        outputs = forward()
        grads = torch.autograd.grad(outputs, leaves, cotangents, materialize_grads=True)
        return (*outputs, *grads)

    return both


def _cotangent(output: Tensor) -> Tensor:
    generator = torch.Generator().manual_seed(output.dim())
    # Rounded once, so that all types get the same numbers.
    drawn = torch.randn(output.shape, generator=generator).bfloat16()
    return drawn.to(output.device, output.dtype)


def _largest_error(got: Outcome, wanted: Outcome) -> float:
    """The largest relative error of a tensor, in the 2-norm; NaN where there is one."""
    norms = torch.stack([_norm(w) for w in wanted])
    # Some gradients are zero but for rounding, such as those of a bias that softmax cancels.
    scales = norms.clamp(min=max(NEGLIGIBLE * float(norms.max()), 1e-30))
    errors = [_norm(g.detach().float() - w.detach()) for g, w in zip(got, wanted, strict=True)]
    return float((torch.stack(errors) / scales).max())


def _norm(tensor: Tensor) -> Tensor:
    return torch.linalg.vector_norm(tensor.detach().float()).cpu()


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
