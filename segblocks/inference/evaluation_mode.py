"""A model in evaluation mode while it works, also where several threads use it."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Lock
from weakref import WeakKeyDictionary

import torch
from torch import nn


@dataclass
class _Use:
    """By how many a model is used, and which of its modules were in training mode before."""

    users: int = 0
    training: list[nn.Module] = field(default_factory=list[nn.Module])


_LOCK = Lock()
_IN_USE: WeakKeyDictionary[nn.Module, _Use] = WeakKeyDictionary()


@contextmanager
def evaluating(model: nn.Module) -> Generator[None, None, None]:
    """Turn inference mode on for this thread, and evaluation mode for the model.

    The first of several threads that use a model turns its evaluation mode on, and the last one
    gives the modules that were in training mode back to it.

    Example:
        >>> model = nn.Dropout()
        >>> with evaluating(model):
        ...     print(model.training, torch.is_inference_mode_enabled())
        False True
        >>> model.training
        True
    """
    _enter(model)
    try:
        with torch.inference_mode():
            yield
    finally:
        _leave(model)


def _enter(model: nn.Module) -> None:
    with _LOCK:
        use = _IN_USE.setdefault(model, _Use())
        use.users += 1
        training = [module for module in model.modules() if module.training]
        if training:
            model.eval()
            use.training += training


def _leave(model: nn.Module) -> None:
    with _LOCK:
        use = _IN_USE[model]
        use.users -= 1
        if use.users:
            return
        del _IN_USE[model]
        # Not train(), which would also switch on the modules that were kept in evaluation mode.
        for module in use.training:
            module.training = True
