"""All random generators of a process: seeding them, keeping their state."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


def seed_everything(*seed: int) -> None:
    """Seed Python's, NumPy's and PyTorch's generators, on all devices.

    Args:
        seed: numbers that are not negative; each other tuple gives another chance.
    """
    # Zeros at the end alone would change nothing.
    words = np.random.SeedSequence([len(seed), *seed]).generate_state(3)
    random.seed(int(words[0]))
    np.random.seed(int(words[1]))  # noqa: NPY002 - libraries draw from the old generator
    torch.manual_seed(int(words[2]))


def random_state(device: torch.device) -> dict[str, Any]:
    """Return the state of all generators of this process, in tensors and plain values.

    Args:
        device: where this process trains.
    """
    version, words, gauss = random.getstate()
    _, keys, position, has_gauss, cached = np.random.get_state()  # noqa: NPY002
    state: dict[str, Any] = {
        "python": [version, list(words), gauss],
        "numpy": [torch.from_numpy(np.array(keys, dtype=np.int64)), position, has_gauss, cached],
        "torch": torch.get_rng_state(),
    }
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def set_random_state(state: Mapping[str, Any], device: torch.device) -> None:
    """Let all generators go on from a state.

    Args:
        state: of `random_state`.
        device: where this process trains.
    """
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words), gauss))
    keys, position, has_gauss, cached = state["numpy"]
    numbers = keys.numpy().astype(np.uint32)
    np.random.set_state(("MT19937", numbers, position, has_gauss, cached))  # noqa: NPY002
    torch.set_rng_state(state["torch"])
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)


@contextmanager
def own_chance(device: torch.device) -> Iterator[None]:
    """Let what is done inside take nothing from the generators that training draws from."""
    state = random_state(device)
    try:
        yield
    finally:
        set_random_state(state, device)
