"""From the classes that a model knows to those that it is asked for."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from segblocks.text.union import canonical_name
from segblocks.text.vocabulary import Vocabulary


class AskedClasses(NamedTuple):
    """The classes of a task, as a model with a joined vocabulary finds them.

    Args:
        names: the canonical name of each class.
        columns: the index of each class in the joined vocabulary; None where it has none.
        things: whether each class is a thing; stuff has no instances, so that there is nothing to
            look for.
    """

    names: tuple[str, ...]
    columns: tuple[int | None, ...]
    things: tuple[bool, ...]

    @property
    def unseen(self) -> tuple[str, ...]:
        """The names without a column."""
        pairs = zip(self.names, self.columns, strict=True)
        return tuple(name for name, column in pairs if column is None)


def find_classes(union: Vocabulary, asked: Vocabulary) -> AskedClasses:
    """Find the classes of a task in a joined vocabulary, by what they mean.

    Args:
        union: of canonical names, see :func:`~segblocks.text.unite`.
        asked: the task's.

    Raises:
        ValueError: two of the task's classes mean the same.

    Example:
        >>> union = Vocabulary("union", ("person", "giant panda"))
        >>> find_classes(union, Vocabulary("ovis", ("Giant_panda", "Parrot"))).columns
        (1, None)
    """
    names = tuple(canonical_name(name, asked.name) for name in asked.classes)
    if doubles := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"{asked.name}: several classes mean the same, {', '.join(doubles)}")
    places = {name: column for column, name in enumerate(union.classes)}
    things = tuple(asked.is_thing(index) for index in range(len(asked)))
    return AskedClasses(names, tuple(places.get(name) for name in names), things)


def known_logits(logits: Tensor, columns: tuple[int, ...]) -> Tensor:
    """Keep the logits of some classes, and of no-object.

    The same as -inf for all others: they take no part in the softmax, and get no gradient.

    Args:
        logits: (..., K + 1), no-object last.
        columns: n of the K.

    Returns:
        (..., n + 1), no-object last.

    Example:
        >>> known_logits(torch.tensor([1.0, 2.0, 0.0]), (1,))
        tensor([2., 0.])
    """
    return logits[..., [*columns, logits.shape[-1] - 1]]


def likeness(asked: Tensor, known: Tensor, temperature: float) -> Tensor:
    """Say how much each asked class is like each known one, by the vectors of their names.

    Args:
        asked: (n, d), of length 1.
        known: (K, d), of length 1.
        temperature: of the softmax over the known classes.

    Returns:
        (n, K), rows that add up to 1.

    Example:
        >>> likeness(torch.eye(2)[:1], torch.eye(2), 0.1).round(decimals=3)
        tensor([[1., 0.]])
    """
    return (asked @ known.T / temperature).softmax(dim=-1)


def asked_logits(logits: Tensor, columns: tuple[int | None, ...], mixture: Tensor) -> Tensor:
    """Make the logits of classes of which the classifier has only some.

    A class that it has not gets the mean of the logits of those that it has, weighted by likeness
    (Norouzi et al. 2014 do so with vectors of images).

    Args:
        logits: (..., K + 1), no-object last.
        columns: of the n classes, None for those without one.
        mixture: (m, K), the weights for the m classes without a column, in order.

    Returns:
        (..., n + 1), no-object last.

    Example:
        >>> asked_logits(torch.tensor([1.0, 3.0, 0.0]), (1, None), torch.tensor([[0.5, 0.5]]))
        tensor([3., 2., 0.])
    """
    num_known = logits.shape[-1] - 1
    unseen = logits[..., :-1] @ mixture.to(logits).T
    extended = torch.cat((logits[..., :-1], unseen, logits[..., -1:]), dim=-1)
    places = iter(range(num_known, num_known + len(mixture)))
    picked = [next(places) if column is None else column for column in columns]
    return extended[..., [*picked, extended.shape[-1] - 1]]
