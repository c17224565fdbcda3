"""Averaged weights, which often do better than those of the last step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


class AveragedWeights:
    """Keep an exponential moving average of a model's weights.

    After each step ``average = decay * average + (1 - decay) * weights``, in at least float32. The
    average starts with the weights at hand. Buffers are the model's own.

    Args:
        model: whose weights are averaged; it stays on its device.
        decay: of one step, such as 0.9998.

    Raises:
        ValueError: a decay outside 0..1.

    Example:
        >>> model = nn.Linear(1, 1, bias=False)
        >>> _ = nn.init.constant_(model.weight, 1.0)
        >>> averaged = AveragedWeights(model, 0.9)
        >>> _ = nn.init.constant_(model.weight, 2.0)
        >>> averaged.update()
        >>> round(averaged.state_dict()["weight"].item(), 6)
        1.1
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        if not 0 < decay < 1:
            raise ValueError(f"AveragedWeights: decay must lie between 0 and 1, got {decay}")
        self.model, self.decay = model, decay
        self._join = get_ema_multi_avg_fn(decay)
        self._average = {
            name: parameter.detach().to(_wide(parameter), copy=True)
            for name, parameter in model.named_parameters()
        }
        first = {id(parameter): name for name, parameter in model.named_parameters()}
        every = model.named_parameters(remove_duplicate=False)
        # A shared parameter has several names.
        self._names = {name: first[id(parameter)] for name, parameter in every}

    @torch.no_grad()
    def update(self) -> None:
        """Take in the weights after a step."""
        current = dict(self.model.named_parameters())
        latest = [current[name].to(value.dtype) for name, value in self._average.items()]
        self._join(list(self._average.values()), latest, 0)

    def state_dict(self) -> dict[str, Tensor]:
        """Return averaged weights and the model's buffers, named as in the model's own."""
        return {
            name: self._average[self._names[name]] if name in self._names else value
            for name, value in self.model.state_dict().items()
        }

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on from averaged weights; buffers are left alone.

        Raises:
            ValueError: they are of another model.
        """
        odd = sorted(state.keys() ^ self.model.state_dict().keys())
        if odd:
            raise ValueError(f"AveragedWeights: these weights are of another model: {odd[:5]}")
        for name, value in self._average.items():
            value.copy_(state[name])

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Let the model have the averaged weights for a while, such as for an evaluation."""
        kept = {name: value.detach().clone() for name, value in self.model.named_parameters()}
        self._write(self._average)
        try:
            yield
        finally:
            self._write(kept)

    @torch.no_grad()
    def _write(self, values: Mapping[str, Tensor]) -> None:
        for name, parameter in self.model.named_parameters():
            parameter.copy_(values[name])


def _wide(parameter: Tensor) -> torch.dtype:
    return torch.promote_types(parameter.dtype, torch.float32)
