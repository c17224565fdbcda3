"""Averaged weights, which often do better than those of the last step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class AveragedWeights:
    """Keep an exponential moving average of a model's weights.

    After each step ``average = decay * average + (1 - decay) * weights``, in at least float32. The
    average starts with the weights at hand. Buffers are copied, not averaged.

    Args:
        model: whose weights are averaged.
        decay: of one step, such as 0.9998.

    Raises:
        ValueError: a decay outside 0..1.

    Example:
        >>> model = nn.Linear(1, 1, bias=False)
        >>> _ = nn.init.constant_(model.weight, 1.0)
        >>> averaged = AveragedWeights(model, 0.9)
        >>> _ = nn.init.constant_(model.weight, 2.0)
        >>> averaged.update(model)
        >>> round(averaged.state_dict()["weight"].item(), 6)
        1.1
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        if not 0 < decay < 1:
            raise ValueError(f"AveragedWeights: decay must lie between 0 and 1, got {decay}")
        self.decay = decay
        self._average = {
            name: parameter.detach().to(_wide(parameter), copy=True)
            for name, parameter in model.named_parameters()
        }
        first = {id(parameter): name for name, parameter in model.named_parameters()}
        every = model.named_parameters(remove_duplicate=False)
        # A shared parameter has several names.
        self._names = {name: first[id(parameter)] for name, parameter in every}
        self._latest: dict[str, Tensor] = {}
        self._read_buffers(model)

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Take in the weights after a step."""
        current = dict(model.named_parameters())
        torch._foreach_lerp_(
            list(self._average.values()),
            [current[name].detach().to(value.dtype) for name, value in self._average.items()],
            1 - self.decay,
        )
        self._read_buffers(model)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the averaged weights under the names of the model's own, buffers included."""
        averages = {name: self._average[first] for name, first in self._names.items()}
        return {**averages, **self._latest}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on from averaged weights.

        Raises:
            ValueError: they are of another model.
        """
        if state.keys() != self.state_dict().keys():
            odd = sorted(state.keys() ^ self.state_dict().keys())
            raise ValueError(f"AveragedWeights: these weights are of another model: {odd[:5]}")
        for name, value in self.state_dict().items():
            value.copy_(state[name])

    @contextmanager
    def applied_to(self, model: nn.Module) -> Iterator[None]:
        """Let a model have the averaged weights for a while, such as for an evaluation."""
        kept = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
        self._write(model, self._average)
        try:
            yield
        finally:
            self._write(model, kept)

    @torch.no_grad()
    def _write(self, model: nn.Module, values: Mapping[str, Tensor]) -> None:
        for name, parameter in model.named_parameters():
            parameter.copy_(values[name])

    def _read_buffers(self, model: nn.Module) -> None:
        self._latest = {
            name: value.detach().clone()
            for name, value in model.state_dict().items()
            if name not in self._names
        }


def _wide(parameter: Tensor) -> torch.dtype:
    return torch.promote_types(parameter.dtype, torch.float32)
