from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from segblocks.ops.mask_iou import mask_iou


def iou_by_loop(a: np.ndarray, b: np.ndarray, smooth: float) -> np.ndarray:
    out = np.zeros((len(a), len(b)))
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            inter, union = np.sum(x & y) + smooth, np.sum(x | y) + smooth
            out[i, j] = inter / union if union else 0.0
    return out


@settings(max_examples=80, deadline=None)
@given(
    num=st.tuples(st.integers(0, 4), st.integers(0, 4)),
    size=st.lists(st.integers(0, 5), min_size=0, max_size=3),
    smooth=st.sampled_from([0.0, 1.0, 0.5]),
    density=st.sampled_from([0.0, 0.3, 1.0]),
    seed=st.integers(0, 1000),
)
def test_matches_a_loop(num, size, smooth, density, seed):
    rng = np.random.default_rng(seed)
    a, b = (rng.random((n, *size)) < density for n in num)
    got = mask_iou(torch.from_numpy(a), torch.from_numpy(b), smooth=smooth)
    assert got.dtype == torch.float32
    np.testing.assert_allclose(got.numpy(), iou_by_loop(a, b, smooth), rtol=1e-6)


def test_counts_stay_exact_over_chunks(monkeypatch):
    monkeypatch.setattr(sys.modules[mask_iou.__module__], "_CHUNK", 7)
    a = torch.rand(3, 5, 9, generator=torch.Generator().manual_seed(0)) < 0.5
    expected = torch.from_numpy(iou_by_loop(a.numpy(), a.numpy(), 0.0)).float()
    torch.testing.assert_close(mask_iou(a, a), expected)


def test_autocast_does_not_cost_precision():
    a = torch.ones(1, 300, 300, dtype=torch.bool)
    b = a.clone()
    b[0, 0, 0] = False
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert mask_iou(a, b).item() == pytest.approx(89999 / 90000, rel=1e-6)


def test_wrong_inputs_raise():
    mask = torch.ones(1, 4, dtype=torch.bool)
    with pytest.raises(ValueError, match="a must be boolean"):
        mask_iou(mask.float(), mask)
    with pytest.raises(ValueError, match="same size"):
        mask_iou(mask, torch.ones(1, 5, dtype=torch.bool))
