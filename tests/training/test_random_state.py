"""All generators go on where they were."""

from __future__ import annotations

import io
import random

import numpy as np
import torch

from segblocks.training.random_state import (
    own_chance,
    random_state,
    seed_everything,
    set_random_state,
)

CPU = torch.device("cpu")


def draw() -> list[float]:
    # Gauss keeps a second value back, in Python as in NumPy.
    return [
        random.random(),
        random.gauss(0, 1),
        float(np.random.rand()),  # noqa: NPY002
        float(np.random.normal()),  # noqa: NPY002
        float(torch.rand(())),
        float(torch.randn(())),
    ]


def test_going_on_through_a_file() -> None:
    seed_everything(3)
    draw()
    file = io.BytesIO()
    torch.save(random_state(CPU), file)
    wanted = draw() + draw()
    seed_everything(4)
    file.seek(0)
    set_random_state(torch.load(file, weights_only=True), CPU)
    assert draw() + draw() == wanted


def test_seeds_differ_and_repeat() -> None:
    found = {}
    for seed in ((0,), (1,), (0, 1), (1, 0), (0, 0, 1)):
        seed_everything(*seed)
        found[seed] = draw()
        seed_everything(*seed)
        assert draw() == found[seed]
    for i in range(6):
        assert len({values[i] for values in found.values()}) == len(found)


def test_what_is_drawn_inside_is_not_missed_outside() -> None:
    seed_everything(5)
    wanted = draw()
    seed_everything(5)
    with own_chance(CPU):
        inside = draw()
    assert inside == wanted
    assert draw() == wanted
