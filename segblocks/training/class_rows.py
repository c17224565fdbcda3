"""The rows of classes in a checkpoint, for a model of other vocabularies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from segblocks.text.union import canonical_name
from segblocks.text.vocabulary import (
    OwnVocabulary,
    Vocabulary,
    as_vocabulary,
    close_matches,
    list_vocabularies,
)
from segblocks.zoo.checkpoint import CheckpointError

SEMANTIC_ROWS = "queries.semantic"
"""The entry of a state dict that has one row a class, vocabulary after vocabulary."""


def matching_rows(
    source: Sequence[str | OwnVocabulary],
    target: Sequence[str | OwnVocabulary],
    rows_from: Mapping[str, Sequence[str]],
) -> dict[int, int]:
    """Find which class rows of a checkpoint go where.

    Args:
        source: vocabularies of the checkpoint, in the order of its rows.
        target: vocabularies of the model, in the order of its rows.
        rows_from: name of a vocabulary of the model -> names of further vocabularies of the
            checkpoint to look in, the first that has the class counts. Class names are compared as
            :func:`~segblocks.text.union.canonical_name` spells them.

    Returns:
        Row of the model -> row of the checkpoint.

    Raises:
        ValueError: ``rows_from`` names an unknown vocabulary; close matches are listed.

    Example:
        >>> rows = matching_rows(["ade20k", "cityscapes"], ["kitti_step"],
        ...                      {"kitti_step": ["cityscapes"]})
        >>> len(rows), rows[0] - 150
        (19, 7)
    """
    found = {vocabulary.name: (start, vocabulary) for start, vocabulary in _starts(source)}
    wanted = _starts(target)
    _check_names(rows_from, {*found, *(vocabulary.name for _, vocabulary in wanted)})
    rows: dict[int, int] = {}
    for start, vocabulary in wanted:
        # The first row of a name counts, so the vocabulary's own comes first.
        names = (vocabulary.name, *rows_from.get(vocabulary.name, ()))
        known: dict[str, int] = {}
        for first, other in (found[name] for name in names if name in found):
            for index, class_name in enumerate(other.classes):
                known.setdefault(canonical_name(class_name, other.name), first + index)
        for index, class_name in enumerate(vocabulary.classes):
            spelled = canonical_name(class_name, vocabulary.name)
            if spelled in known:
                rows[start + index] = known[spelled]
    return rows


def count_rows(vocabularies: Sequence[str | OwnVocabulary]) -> int:
    """Count the classes of vocabularies, each on its own."""
    return sum(len(as_vocabulary(vocabulary)) for vocabulary in vocabularies)


def fill_rows(own: Tensor, given: Tensor, rows: Mapping[int, int]) -> Tensor:
    """Return a model's rows with some of a checkpoint's in their places.

    Args:
        own: (K, C) of the model.
        given: (K', C) of the checkpoint.
        rows: row of the model -> row of the checkpoint.

    Raises:
        CheckpointError: another number of channels.
    """
    if given.shape[1:] != own.shape[1:]:
        raise CheckpointError(
            f"{SEMANTIC_ROWS} has {given.shape[-1]} channels, the model has {own.shape[-1]}"
        )
    filled = own.clone()
    if rows:
        filled[list(rows)] = given[list(rows.values())].to(own)
    return filled


def _check_names(rows_from: Mapping[str, Sequence[str]], own: set[str]) -> None:
    known = sorted({*list_vocabularies(), *own})
    for name in (*rows_from, *(source for listed in rows_from.values() for source in listed)):
        if name not in known:
            raise ValueError(
                f"rows_from: there is no vocabulary {name!r}{close_matches(name, known)}"
            )


def _starts(vocabularies: Sequence[str | OwnVocabulary]) -> list[tuple[int, Vocabulary]]:
    """Each vocabulary with its first row."""
    starts, total = [], 0
    for vocabulary in map(as_vocabulary, vocabularies):
        starts.append((total, vocabulary))
        total += len(vocabulary)
    return starts
