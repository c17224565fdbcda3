"""What modules took in and gave out while a model ran."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn


@dataclass(frozen=True)
class Call:
    """One call of a module.

    Args:
        name: of the module inside the model, such as ``"neck.deformable_layers.0.attention"``.
        module: the module itself.
        inputs: its arguments by name, defaults included.
        output: what it returned.
    """

    name: str
    module: nn.Module
    inputs: dict[str, Any]
    output: Any


@contextmanager
def capture(model: nn.Module, *kinds: type[nn.Module]) -> Iterator[list[Call]]:
    """Record the calls of all modules of some kinds while a model runs.

    Forward hooks do it: the model and its results stay as they are. What is recorded keeps its
    tensors in memory, on their device, as long as the list lives.

    Args:
        model: any module.
        kinds: which of its modules to record; derived classes count.

    Yields:
        The calls so far, in the order in which they returned.

    Raises:
        ValueError: the model has no module of these kinds.

    Example:
        >>> import torch
        >>> model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
        >>> with capture(model, nn.Linear) as calls:
        ...     _ = model(torch.zeros(5, 2))
        >>> [(call.name, tuple(call.inputs["input"].shape)) for call in calls]
        [('0', (5, 2)), ('2', (5, 3))]
    """
    found = {m: name for name, m in model.named_modules() if isinstance(m, kinds)}
    if not found:
        wanted = ", ".join(kind.__name__ for kind in kinds) or "none"
        raise ValueError(
            f"capture: kinds must name modules of the {type(model).__name__}, got {wanted}, of "
            "which it has none"
        )
    calls: list[Call] = []

    def record(
        module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any
    ) -> None:
        bound = inspect.signature(module.forward).bind(*args, **kwargs)
        bound.apply_defaults()
        inputs = {key: _as_it_stands(value) for key, value in bound.arguments.items()}
        calls.append(Call(found[module], module, inputs, output))

    handles = [module.register_forward_hook(record, with_kwargs=True) for module in found]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def _as_it_stands(value: Any) -> Any:
    # The context of a decoder is one object that its later steps go on to change.
    return value if isinstance(value, Tensor) else copy.copy(value)
