"""Learning rates in closed form."""

from __future__ import annotations

import math
from typing import Any

import pytest

from segblocks.training.schedule import Schedule


def test_the_finetuning_of_tarvis() -> None:
    schedule = Schedule(warmup=10_000, milestones=(50_000, 84_000))
    wanted = {
        0: 1e-4,
        4_999: 0.5,
        9_999: 1.0,
        10_000: 1.0,
        49_999: 1.0,
        50_000: 0.1,
        83_999: 0.1,
        84_000: 0.01,
        89_999: 0.01,
    }
    for step, rate in wanted.items():
        assert schedule.rate(step, 90_000) == pytest.approx(rate, rel=1e-12)


def test_constant() -> None:
    assert {Schedule().rate(step, 10) for step in range(10)} == {1.0}


def test_cosine() -> None:
    schedule = Schedule(warmup=5, cosine=True, final=0.2)
    for step in range(25):
        share = (step - 5) / 20
        falling = 0.2 + 0.8 * 0.5 * (1 + math.cos(math.pi * share))
        wanted = (step + 1) / 5 if step < 5 else falling
        assert schedule.rate(step, 25) == pytest.approx(wanted, rel=1e-12)
    assert schedule.rate(25, 25) == pytest.approx(0.2)
    assert schedule.rate(15, 25) == pytest.approx(0.6)


@pytest.mark.parametrize("milestones", [(4,), (2, 4)])
def test_milestones_within_the_warmup_multiply(milestones: tuple[int, ...]) -> None:
    schedule = Schedule(warmup=8, milestones=milestones, factor=0.5)
    assert schedule.rate(5, 10) == pytest.approx(6 / 8 * 0.5 ** len(milestones))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"warmup": -1}, "warmup must be at least 0, got -1"),
        ({"milestones": (3, 3)}, r"milestones must be positive and grow, got \(3, 3\)"),
        ({"milestones": (0, 3)}, "milestones must be positive"),
        ({"milestones": (3,), "cosine": True}, "either cosine or milestones"),
        ({"factor": 0.0}, "factor must be positive"),
        ({"final": 1.5}, r"final lie in 0\.\.1, got 0\.1 and 1\.5"),
    ],
)
def test_errors(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Schedule(**options)
