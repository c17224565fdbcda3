"""Principal components."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from segblocks.viz import feature_image, principal_axes


@given(num=st.integers(2, 40), channels=st.integers(1, 8), seed=st.integers(0, 99))
def test_axes_are_those_of_the_singular_values(num: int, channels: int, seed: int) -> None:
    points = torch.randn(num, channels, generator=torch.Generator().manual_seed(seed))
    points = points - points.mean(0)
    axes = principal_axes(points, channels)
    torch.testing.assert_close(axes.mT @ axes, torch.eye(channels), atol=1e-4, rtol=0)
    spread = (points @ axes).norm(dim=0)
    singular = np.linalg.svd(points.double().numpy(), compute_uv=False)
    expected = torch.zeros(channels)
    expected[: len(singular)] = torch.from_numpy(singular)
    # Where nothing varies, a norm is the square root of a rounding error.
    torch.testing.assert_close(spread, expected, atol=1e-2, rtol=1e-4)


def test_signs_do_not_depend_on_the_side() -> None:
    points = torch.randn(30, 5)
    torch.testing.assert_close(principal_axes(points, 3), principal_axes(-points, 3))


def test_equal_features_have_equal_colours_and_others_differ() -> None:
    vectors = torch.randn(4, 16)
    labels = torch.randint(4, (2, 6, 9), generator=torch.Generator().manual_seed(0))
    image = feature_image(vectors[labels].movedim(-1, 1))
    colors = [np.unique(image[labels.numpy() == i], axis=0) for i in range(4)]
    assert all(len(found) == 1 for found in colors)
    assert len({tuple(found[0]) for found in colors}) == 4


def test_pictures_are_repeated_pixels() -> None:
    features = torch.randn(2, 4, 3, 5)
    small, large = feature_image(features), feature_image(features, scale=3)
    np.testing.assert_array_equal(large, small.repeat(3, axis=1).repeat(3, axis=2))


def test_constant_features_are_one_colour() -> None:
    image = feature_image(torch.ones(1, 4, 3, 5))
    assert len(np.unique(image.reshape(-1, 3), axis=0)) == 1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: principal_axes(torch.zeros(4), 1), r"\(N, C\) and count 1 to C, got \(4,\)"),
        (lambda: principal_axes(torch.zeros(4, 2), 3), "got .* and 3"),
        (lambda: feature_image(torch.zeros(1, 2, 3, 3)), "C of at least 3"),
        (lambda: feature_image(torch.zeros(1, 3, 3, 3), scale=0), "scale at least 1, got .* and 0"),
    ],
)
def test_wrong_inputs_raise(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
