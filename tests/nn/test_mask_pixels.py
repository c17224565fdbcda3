"""Pixels of masks by their number against a list of all pixels."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from segblocks.nn.mask_pixels import MaskPixels, even_numbers


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 3), st.integers(1, 9), st.integers(1, 9), st.integers(0, 999))
def test_pixels_come_in_reading_order(objects: int, height: int, width: int, seed: int) -> None:
    torch.manual_seed(seed)
    masks = torch.rand(objects, height, width) < torch.rand(objects, 1, 1)
    masks[:, torch.randint(height, ()), torch.randint(width, ())] = True
    numbers = torch.stack([torch.randint(int(mask.sum()), (5,)) for mask in masks])
    pixels = MaskPixels(masks)
    assert pixels.counts.tolist() == [int(mask.sum()) for mask in masks]
    for mask, asked, own in zip(masks, numbers, pixels.at(numbers), strict=True):
        assert torch.equal(mask.nonzero()[asked], own)


def test_numbers_beyond_a_mask_stay_in_the_frame() -> None:
    masks = torch.zeros(2, 3, 4, dtype=torch.bool)
    masks[1, 2, 3] = True
    found = MaskPixels(masks).at(torch.tensor([[0, 5], [0, 9]]))
    assert (found >= 0).all()
    assert (found < torch.tensor([3, 4])).all()
    assert MaskPixels(masks[:0]).at(torch.zeros(0, 5, dtype=torch.long)).shape == (0, 5, 2)


@given(st.integers(1, 10**7), st.integers(1, 300))
def test_even_numbers_are_the_middles_of_equal_parts(count: int, size: int) -> None:
    (found,) = even_numbers(torch.tensor([count]), size).tolist()
    assert found == [(2 * part + 1) * count // (2 * size) for part in range(size)]
    assert found == sorted(found)
    assert 0 <= found[0] <= found[-1] < count
