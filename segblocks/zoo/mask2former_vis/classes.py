"""From the classes of the classifier to those that a task asks for."""

from __future__ import annotations

import torch
from torch import Tensor

from segblocks.text.vocabulary import Vocabulary


def class_columns(known: Vocabulary, asked: Vocabulary) -> list[int]:
    """Find the columns of a classifier that belong to a task's classes.

    Args:
        known: the classes of the classifier.
        asked: the task's, all of them among ``known``.

    Returns:
        One index into ``known`` a class, in the order of ``asked``.

    Raises:
        ValueError: names classes that the classifier lacks.
    """
    missing = [name for name in asked.classes if name not in known.classes]
    if missing:
        shown = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
        raise ValueError(
            f"vocabulary must be {known.name}, or some of its {len(known)} classes; "
            f"got {asked.name!r}, of which it lacks {shown}"
        )
    return [known.index(name) for name in asked.classes]


def narrow_classes(logits: Tensor, columns: list[int]) -> Tensor:
    """Keep only some classes, whose probabilities stay what they are among all classes.

    The probability of the others goes to no-object: what looks like a dog to a model that is asked
    for cats alone is no object, rather than a cat for want of anything else.

    Args:
        logits: (..., K + 1), no-object last.
        columns: n of the K.

    Returns:
        (..., n + 1), no-object last.

    Example:
        >>> logits = torch.tensor([0.25, 0.5, 0.25]).log()
        >>> [round(float(p), 4) for p in narrow_classes(logits, [1]).softmax(0)]
        [0.5, 0.5]
    """
    num_classes = logits.shape[-1] - 1
    if columns == list(range(num_classes)):
        return logits
    rest = [k for k in range(num_classes + 1) if k not in set(columns)]
    no_object = torch.logsumexp(logits[..., rest], dim=-1, keepdim=True)
    return torch.cat((logits[..., columns], no_object), dim=-1)
