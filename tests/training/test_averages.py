"""Means of what came, over steps and processes."""

from __future__ import annotations

import json

from segblocks.training.averages import Averages


def test_means_over_the_steps_that_had_it() -> None:
    averages = Averages()
    assert averages.means() == {}
    for values in ({"a": 1.0}, {"a": 2.0, "b": 8.0}, {"b": 4.0}, {"a": 6.0}):
        averages.add(values)
    assert averages.means() == {"a": 3.0, "b": 6.0}


def test_going_on() -> None:
    first = Averages()
    first.add({"a": 1.0})
    second = Averages(json.loads(json.dumps(first.state_dict())))
    second.add({"a": 4.0})
    assert second.means() == {"a": 2.5}
    assert first.means() == {"a": 1.0}


def test_processes_are_weighted_by_their_steps() -> None:
    one, other = Averages(), Averages()
    one.add({"a": 1.0})
    for value in (3.0, 5.0):
        other.add({"a": value, "b": value})
    joined = Averages.joined([one.state_dict(), other.state_dict()])
    assert joined.means() == {"a": 3.0, "b": 4.0}
    assert one.means() == {"a": 1.0}
