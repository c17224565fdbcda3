"""A loss before its division, so that processes can share the divisor."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class LossSum(NamedTuple):
    """A weighted sum and its weight.

    Dividing the sum by the weight of all processes makes several of them equal to one with the
    whole batch.

    Args:
        total: the weighted sum, a scalar.
        weight: the sum of the weights, a scalar without gradient.

    Example:
        >>> import torch
        >>> LossSum(torch.tensor(6.0), torch.tensor(3.0)).mean
        tensor(2.)
    """

    total: Tensor
    weight: Tensor

    @property
    def mean(self) -> Tensor:
        """The weighted mean; 0, with a gradient of 0, where there is no weight."""
        return self.total / self.weight.where(self.weight != 0, 1)
