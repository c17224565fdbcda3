from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from segblocks.ops.mask_pool import mask_pool


@settings(max_examples=50, deadline=None)
@given(
    lead=st.lists(st.integers(1, 3), max_size=2),
    sizes=st.tuples(*[st.integers(0, 4)] * 4),
    seed=st.integers(0, 1000),
)
def test_matches_a_loop(lead, sizes, seed):
    objects, channels, height, width = sizes
    rng = torch.Generator().manual_seed(seed)
    features = torch.randn(*lead, channels, height, width, generator=rng, dtype=torch.float64)
    masks = torch.rand(*lead, objects, height, width, generator=rng) < 0.5
    got = mask_pool(features, masks)
    assert got.shape == (*lead, objects, channels)
    for index in np.ndindex(*lead):
        f, m, g = features[index], masks[index], got[index]
        for o in range(objects):
            expected = f[:, m[o]].mean(-1) if m[o].any() else torch.zeros(channels).double()
            torch.testing.assert_close(g[o], expected)


def test_leading_dimensions_broadcast():
    features, masks = torch.randn(2, 3, 4, 5, 6), torch.rand(7, 5, 6) < 0.5
    got = mask_pool(features, masks)
    assert got.shape == (2, 3, 7, 4)
    torch.testing.assert_close(got[1, 2], mask_pool(features[1, 2], masks))


def test_half_precision_is_summed_in_float32():
    features = torch.full((1, 64, 64), 3.0, dtype=torch.float16)
    masks = torch.ones(1, 64, 64, dtype=torch.bool)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = mask_pool(features, masks)
    assert got.dtype == torch.float16
    assert got.item() == 3.0


def test_the_gradient_is_the_mask_over_its_area():
    features = torch.randn(2, 3, 4, requires_grad=True)
    masks = torch.zeros(1, 3, 4, dtype=torch.bool)
    masks[0, 1, :2] = True
    mask_pool(features, masks)[0, 0].backward()
    expected = torch.zeros(2, 3, 4)
    expected[0, 1, :2] = 0.5
    torch.testing.assert_close(features.grad, expected)


def test_wrong_inputs_raise():
    features = torch.zeros(2, 3, 4)
    with pytest.raises(ValueError, match="boolean"):
        mask_pool(features, torch.zeros(1, 3, 4))
    with pytest.raises(ValueError, match=r"same \(H, W\)"):
        mask_pool(features, torch.zeros(1, 4, 3, dtype=torch.bool))
    with pytest.raises(ValueError, match="floating point"):
        mask_pool(features.long(), torch.zeros(1, 3, 4, dtype=torch.bool))
