"""Losses of clips, and how they become those of a batch over all processes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from segblocks.losses import LossSum
from segblocks.training.distributed import mean_over_processes

# Of the mask features.
_STRIDE = 4


class Term(NamedTuple):
    """A named loss of one clip; terms of one name and layer share their divisor."""

    name: str
    loss: LossSum
    layer: int = 0


def terms_of_layers(name: str, losses: LossSum, *, share: float = 1.0) -> list[Term]:
    """Make a term of each prediction's loss.

    Args:
        name: of the terms.
        losses: sums and weights, both (L,).
        share: that the sums are multiplied with.

    Example:
        >>> two = LossSum(torch.tensor([6.0, 2.0]), torch.tensor([4.0, 1.0]))
        >>> terms_of_layers("semantic", two)[1]
        Term(name='semantic', loss=LossSum(total=tensor(2.), weight=tensor(1.)), layer=1)
    """
    return [
        Term(name, LossSum(share * total, weight), layer)
        for layer, (total, weight) in enumerate(zip(*losses, strict=True))
    ]


def weigh_terms(
    terms: Sequence[Term],
    weights: Mapping[str, float],
    num_layers: int,
    *,
    least: Mapping[str, float] | None = None,
) -> dict[str, Tensor]:
    """Divide the sums of this process by the mean divisors of all processes, and weigh them.

    Args:
        terms: of all clips of the batch, at least one.
        weights: of every name that there may be, in the same order on all processes.
        num_layers: one more than the greatest of the terms.
        least: the least divisor of a name; 1 for all others.

    Returns:
        Name to weighted scalar, for the names that there are.

    Example:
        >>> two = LossSum(torch.tensor(6.0), torch.tensor(4.0))
        >>> weigh_terms([Term("class", two), Term("class", two)], {"class": 2.0}, 1)
        {'class': tensor(3.)}
    """
    rows = {name: row for row, name in enumerate(weights)}
    device = terms[0].loss.total.device
    # All processes exchange tables of one size, whatever tasks their clips are of.
    divisors = torch.zeros(len(rows), num_layers, device=device)
    for term in terms:
        divisors[rows[term.name], term.layer] += term.loss.weight.detach().float()
    smallest = [(least or {}).get(name, 1.0) for name in weights]
    divisors = mean_over_processes(divisors).maximum(divisors.new_tensor(smallest)[:, None])
    losses: dict[str, Tensor] = {}
    for term in terms:
        share = weights[term.name] / divisors[rows[term.name], term.layer]
        losses[term.name] = losses.get(term.name, 0) + share * term.loss.total
    return losses


def as_padded(maps: Tensor, features: Tensor, *, fill: int) -> Tensor:
    """Extend maps to the padded frames that mask features cover.

    Args:
        maps: (..., H, W).
        features: (T, C, h, w), at stride 4.
        fill: of what is added.

    Returns:
        (..., 4 h, 4 w).
    """
    height, width = (_STRIDE * side for side in features.shape[-2:])
    return F.pad(maps, (0, width - maps.shape[-1], 0, height - maps.shape[-2]), value=fill)
