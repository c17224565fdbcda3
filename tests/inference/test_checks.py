"""Checks on models of which no real one is at hand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from torch import nn

from segblocks.inference.checks import check_settings, whole_number
from segblocks.tracking.policy import VideoPolicy


class Policy:
    """Takes two settings."""

    def __init__(self, task: Any, *, window: int = 4, decay: float = 0.5) -> None:
        pass


class Open(Policy):
    def __init__(self, task: Any, **settings: Any) -> None:
        super().__init__(task, **settings)


class Plain(nn.Module):
    def video_policy(self, task: Any, *, window: int = 4) -> Policy:
        return Policy(task, window=window)


class Forwarding(nn.Module):
    def video_policy(self, task: Any, *, speed: int = 1, **settings: Any) -> Policy:
        return Policy(task, **settings)


@dataclass
class Record:
    """A policy whose settings have no star before them."""

    task: Any
    window: int = 4


class Recorded(nn.Module):
    def video_policy(self, task: Any, **settings: Any) -> Record:
        return Record(task, **settings)


class Silent(nn.Module):
    def video_policy(self, task: Any, **settings: Any) -> VideoPolicy[Any]:
        raise NotImplementedError


class Unresolved(nn.Module):
    def video_policy(self, task: Any, **settings: Any) -> Nowhere:  # type: ignore[name-defined] # noqa: F821
        raise NotImplementedError


class Anything(nn.Module):
    def video_policy(self, task: Any, **settings: Any) -> Open:
        return Open(task, **settings)


@pytest.mark.parametrize(
    ("model", "known"),
    [
        (Plain(), {"window"}),
        (Forwarding(), {"speed", "window", "decay"}),
        (Recorded(), {"window"}),
    ],
)
def test_settings_are_read_off_the_signatures(model: nn.Module, known: set[str]) -> None:
    check_settings("segment", model, dict.fromkeys(known), ())
    for name in {"window", "speed", "decay", "task", "other"} - known:
        with pytest.raises(TypeError, match=f"has no setting '{name}'"):
            check_settings("segment", model, {name: 1}, ())


@pytest.mark.parametrize("model", [Silent(), Unresolved(), Anything()])
def test_where_the_signature_does_not_say_the_model_judges(model: nn.Module) -> None:
    check_settings("segment", model, {"colour": "red"}, ())


def test_whole_numbers() -> None:
    assert whole_number("f", "n", 3, least=3) == 3
    with pytest.raises(ValueError, match="f: n must be at least 4, got 3"):
        whole_number("f", "n", 3, least=4)
