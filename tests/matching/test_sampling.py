from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from segblocks.matching import sample_features, sample_labels, sample_maps
from tests.losses.oracle import sample


@settings(deadline=None, max_examples=40)
@given(
    st.integers(1, 3),
    st.integers(1, 5),
    st.integers(1, 5),
    st.integers(0, 2**16),
    st.sampled_from(["all", "frame", "own"]),
)
def test_maps_equal_the_loop(objects: int, h: int, w: int, seed: int, shared: str) -> None:
    generator = torch.Generator().manual_seed(seed)
    maps = torch.rand(objects, 2, h, w, generator=generator, dtype=torch.float64)
    shape = {"all": (6, 2), "frame": (2, 6, 2), "own": (objects, 2, 6, 2)}[shared]
    # Points beyond the frame are allowed, and see zeros.
    points = torch.rand(shape, generator=generator, dtype=torch.float64) * 1.6 - 0.3
    torch.testing.assert_close(sample_maps(maps, points), sample(maps, points))


def test_boolean_maps_and_an_index() -> None:
    maps = torch.rand(3, 2, 7, 5) > 0.5
    points = torch.rand(5, 2, 9, 2, dtype=torch.float64)
    index = torch.tensor([2, 0, 0, 1, 2])
    expected = sample(maps[index], points)
    torch.testing.assert_close(sample_maps(maps, points, index), expected)
    strided = maps.transpose(0, 1).contiguous().transpose(0, 1)
    torch.testing.assert_close(sample_maps(strided, points, index), expected)


def test_features_equal_grid_sample() -> None:
    features = torch.randn(2, 8, 6, 9)
    points = torch.rand(2, 50, 2)
    expected = F.grid_sample(features, 2 * points[:, None] - 1, align_corners=False)[:, :, 0]
    torch.testing.assert_close(sample_features(features, points), expected, atol=1e-5, rtol=1e-5)


def test_half_precision_is_sampled_at_full_precision() -> None:
    features = torch.randn(1, 4, 40, 300).to(torch.bfloat16)
    points = torch.rand(50, 2)
    sampled = sample_features(features, points)
    assert sampled.dtype == torch.float32
    expected = sample_features(features.double(), points.double()).float()
    torch.testing.assert_close(sampled, expected, atol=1e-4, rtol=1e-4)


def test_labels_are_those_of_the_pixel() -> None:
    labels = torch.randint(-1, 50, (2, 5, 7))
    points = torch.rand(2, 40, 2)
    points[0, 0] = torch.tensor([1.0, 1.0])
    sampled = sample_labels(labels, points)
    for t in range(2):
        for p, (x, y) in enumerate(points[t].tolist()):
            assert sampled[t, p] == labels[t, min(int(y * 5), 4), min(int(x * 7), 6)]


def test_points_that_do_not_fit_are_refused() -> None:
    maps = torch.zeros(2, 3, 4, 4)
    with pytest.raises(
        ValueError, match=r"points must be \(P, 2\) or \(3, P, 2\), got \(2, 5, 2\)"
    ):
        sample_maps(maps, torch.rand(2, 5, 2))
    with pytest.raises(ValueError, match=r"points must be \(2, 3, P, 2\)"):
        sample_maps(maps, torch.rand(4, 3, 5, 2))
