"""Settings of the loop: what is refused, and what a training may be taken up with."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from segblocks.training.schedule import Schedule
from segblocks.training.settings import LoopSettings

SETTINGS = LoopSettings(steps=100, frozen=("backbone",), schedule=Schedule(milestones=(50,)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 0}, "steps must be at least 1, got 0"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"accumulate": -1}, "accumulate must be at least 1"),
        ({"chunk": 0}, "chunk must be at least 1"),
        ({"workers": -1}, "workers must be at least 0"),
        ({"learning_rate": 0.0}, "learning_rate must be positive"),
        ({"backbone_factor": 0.0}, r"backbone_factor must be positive \(frozen can stop it\)"),
        ({"weight_decay": -0.1}, "weight_decay must be at least 0"),
        ({"betas": (0.9, 1.0)}, r"betas must be two numbers in \[0, 1\)"),
        ({"clip_norm": 0.0}, "clip_norm must be positive or None"),
        ({"ema": 1.0}, "ema must be between 0 and 1, or None"),
        ({"precision": "half"}, "precision must be one of fp32, bf16, fp16, got 'half'"),
        ({"frozen": "backbone"}, "frozen must be names, not one text"),
        ({"seed": -1}, "seed must be at least 0"),
    ],
)
def test_errors(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(SETTINGS, **changes)


@pytest.mark.parametrize(
    ("changes", "free"),
    [
        ({"log_every": 1, "save_every": 1, "keep": 1, "workers": 0}, True),
        ({"batch_size": 4, "accumulate": 2}, False),
        ({"steps": 200}, True),
        ({"learning_rate": 1e-3}, False),
        ({"schedule": Schedule(milestones=(60,))}, False),
        ({"precision": "bf16"}, False),
        ({"frozen": ()}, False),
        ({"ema": 0.9}, False),
        ({"seed": 1}, False),
    ],
)
def test_what_a_training_must_have_in_common(changes: dict[str, Any], free: bool) -> None:
    here, there = replace(SETTINGS, **changes).identity(), SETTINGS.identity()
    assert (here == there) is free
    assert json.loads(json.dumps(here)) == here


def test_only_the_clips_of_all_processes_count() -> None:
    parts = [(1, 8, 1), (8, 1, 1), (2, 2, 2), (1, 1, 8)]
    found = [
        replace(SETTINGS, batch_size=size, accumulate=times).identity(processes)
        for size, times, processes in parts
    ]
    assert all(one == found[0] for one in found)


def test_a_cosine_depends_on_the_number_of_steps() -> None:
    cosine = replace(SETTINGS, schedule=Schedule(cosine=True))
    assert cosine.identity() != replace(cosine, steps=200).identity()
