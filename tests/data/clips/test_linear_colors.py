"""One linear map for hue, saturation, contrast and brightness."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import functional as F

from segblocks.data.clips import LinearColors

NONE = {"hue": 0.0, "saturation": 0.0, "contrast": 0.0, "brightness": 0.0}


def picture(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(30, 200, (32, 48, 3)).astype(np.uint8)


def test_nothing_changes_nothing():
    assert np.array_equal(LinearColors(**NONE)(np.random.default_rng(0), picture()), picture())


def test_grays_stay_gray():
    gray = np.repeat(np.arange(40, 200, dtype=np.uint8)[:, None, None], 3, axis=2)
    colors = LinearColors(hue=0.3, saturation=0.9, contrast=0.3, brightness=0.3)
    for seed in range(10):
        changed = colors(np.random.default_rng(seed), gray).astype(int)
        assert np.ptp(changed, axis=2).max() <= 1


@pytest.mark.parametrize(
    ("name", "adjust"),
    [("saturation", F.adjust_saturation), ("brightness", F.adjust_brightness)],
)
def test_saturation_and_brightness_are_those_of_torchvision(name, adjust):
    changed = LinearColors(**{**NONE, name: 0.2})(np.random.default_rng(5), picture())
    rng = np.random.default_rng(5)
    chances = dict(
        zip(("hue", "saturation", "contrast", "brightness"), rng.uniform(-1, 1, 4), strict=True)
    )
    tensor = torch.from_numpy(picture()).permute(2, 0, 1).float() / 255
    expected = 255 * adjust(tensor, 1 + 0.2 * chances[name]).permute(1, 2, 0).numpy()
    assert np.abs(changed - expected).max() <= 0.51 + 0.05


def test_a_third_of_a_turn_swaps_the_colors():
    """Turning the hue by a third takes red to green, green to blue and blue to red."""

    class Third(np.random.Generator):
        def uniform(self, low=0.0, high=1.0, size=None):  # pyright: ignore[reportIncompatibleMethodOverride]
            return high

    colors = LinearColors(**{**NONE, "hue": 1 / 3})
    changed = colors(Third(np.random.PCG64(0)), picture())
    assert np.array_equal(changed, picture()[..., [2, 0, 1]])


def test_the_same_chance_gives_the_same_colors():
    first, second = (LinearColors()(np.random.default_rng(1), picture()) for _ in range(2))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, picture())
