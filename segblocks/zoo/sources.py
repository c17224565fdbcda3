"""The published implementations whose weights can be read and written."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Literal, Protocol, get_args

from torch import Tensor

Weights = Literal["student", "ema"]


class Source(Protocol):
    """A published implementation's state dict, and how it corresponds to ours.

    It may also have ``advice(state_dict) -> str | None``: what to do about a state dict, its own or
    ours, that does not fit a model as it is.
    """

    def convert(self, state_dict: Mapping[str, Tensor], weights: Weights) -> dict[str, Tensor]:
        """Turn its state dict into ours; a :class:`CheckpointError` where it does not fit."""
        ...

    def export(self, state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Turn ours into its, less the constants that ours does without."""
        ...


_SOURCES: dict[str, Source] = {}


def register_source(name: str, source: Source) -> None:
    """Make a source known.

    Args:
        name: As given to :func:`convert_state_dict`.
        source: Its two functions.

    Raises:
        ValueError: The name is taken.
    """
    if name in _SOURCES:
        raise ValueError(f"register_source: {name!r} is registered already")
    _SOURCES[name] = source


def get_source(name: str) -> Source:
    """Look up a source.

    Args:
        name: Of the source.

    Returns:
        The source.

    Raises:
        ValueError: Unknown; lists close and known names.
    """
    if name not in _SOURCES:
        raise ValueError(f"unknown source {name!r}{suggest(name, _SOURCES)}")
    return _SOURCES[name]


def get_advice(name: str, state_dict: Mapping[str, Tensor]) -> str | None:
    """Ask a source what to do about a state dict that does not fit a model.

    Args:
        name: Of the source.
        state_dict: As it was read from a file.

    Returns:
        A sentence, or None where the source has no advice.
    """
    advise = getattr(get_source(name), "advice", None)
    return None if advise is None else advise(state_dict)


def suggest(name: str, known: Mapping[str, object]) -> str:
    """Say which known names are close to a wrong one, and list them all.

    Args:
        name: The wrong one.
        known: The right ones.

    Returns:
        Text to end an error message with.
    """
    close = difflib.get_close_matches(name, known, n=3)
    hint = f"; did you mean {' or '.join(map(repr, close))}?" if close else ";"
    return f"{hint} known: {', '.join(sorted(known)) or 'none'}"


def convert_state_dict(
    state_dict: Mapping[str, Tensor], source: str, *, weights: Weights = "student"
) -> dict[str, Tensor]:
    """Turn the state dict of a published implementation into ours.

    Args:
        state_dict: As :func:`load_checkpoint` returns it.
        source: Which implementation it comes from.
        weights: Where a file holds two sets: the trained one, or its moving average.

    Returns:
        Our names to tensors.

    Raises:
        ValueError: Unknown source or set of weights.
        CheckpointError: The state dict does not fit, with a table.
    """
    if weights not in get_args(Weights):
        raise ValueError(
            f"convert_state_dict: weights must be one of {get_args(Weights)}, got {weights!r}"
        )
    return get_source(source).convert(state_dict, weights)


def export_state_dict(state_dict: Mapping[str, Tensor], target: str) -> dict[str, Tensor]:
    """Turn our state dict into that of a published implementation.

    The inverse of :func:`convert_state_dict`, but for constants that the implementation stores
    and ours computes.

    Args:
        state_dict: Our model's.
        target: Which implementation it is for.

    Returns:
        Its names to tensors.

    Raises:
        ValueError: Unknown target.
        CheckpointError: The state dict is none of a model that it has.
    """
    return get_source(target).export(state_dict)
