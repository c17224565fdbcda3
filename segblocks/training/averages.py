"""Means over the steps between two lines of the log."""

from __future__ import annotations

from collections.abc import Iterable, Mapping


class Averages:
    """Add up named numbers, and divide by how often each came.

    Example:
        >>> averages = Averages()
        >>> averages.add({"loss": 1.0})
        >>> averages.add({"loss": 3.0, "dice": 2.0})
        >>> averages.means()
        {'loss': 2.0, 'dice': 2.0}
    """

    def __init__(self, state: Mapping[str, Iterable[float]] | None = None) -> None:
        self._sums = {name: [*pair] for name, pair in (state or {}).items()}

    def add(self, values: Mapping[str, float]) -> None:
        """Take in the numbers of a step."""
        for name, value in values.items():
            pair = self._sums.setdefault(name, [0.0, 0.0])
            pair[0] += value
            pair[1] += 1

    def means(self) -> dict[str, float]:
        """Return the mean of each number over the steps that had it."""
        return {name: total / count for name, (total, count) in self._sums.items()}

    def state_dict(self) -> dict[str, list[float]]:
        """Return sum and count of each number."""
        return {name: [*pair] for name, pair in self._sums.items()}

    @classmethod
    def joined(cls, states: Iterable[Mapping[str, list[float]]]) -> Averages:
        """Put together what several processes have added up."""
        whole = cls()
        for state in states:
            for name, (total, count) in state.items():
                pair = whole._sums.setdefault(name, [0.0, 0.0])
                pair[0] += total
                pair[1] += count
        return whole
