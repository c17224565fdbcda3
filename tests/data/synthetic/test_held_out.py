"""Held-out videos."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from segblocks.data.synthetic import HELD_OUT_SEED, SyntheticWorld, open_held_out, world_config


def test_videos_are_those_of_the_world_with_a_seed_of_their_own() -> None:
    held_out = open_held_out("tiny", seed=2, length=3, task="pet", size=[32, 48])
    config = world_config("tiny", size=(32, 48))
    same = SyntheticWorld(config, HELD_OUT_SEED + 2)
    assert (len(held_out), held_out.task) == (3, "pet")
    np.testing.assert_array_equal(held_out[1].read_frame(0), same[1].read_frame(0))
    training = SyntheticWorld(config, 2)
    assert (held_out[1].read_frame(0) != training[1].read_frame(0)).any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seed": -1}, "seed must be a whole number from 0, got -1"),
        ({"length": 0}, "length must be a whole number from 1, got 0"),
        ({"length": "many"}, "'many'"),
        ({"preset": "tinny"}, "did you mean 'tiny'"),
        ({"task": "vso"}, "'vso'"),
        ({"sizes": 3}, "did you mean 'size'"),
    ],
)
def test_bad_options_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        open_held_out(**options)
