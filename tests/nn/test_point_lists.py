import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from segblocks.nn.point_lists import (
    cell_counts,
    chunk_counts,
    concatenate_lists,
    lists_from_counts,
    subsample,
)


def chunks_by_hand(mask: np.ndarray, stride: int, num_chunks: int) -> np.ndarray:
    """Pixel by pixel, as the official code words it: nonzero, repeat, tensor_split."""
    frames, height, width = mask.shape
    pixels = np.argwhere(mask)
    if len(pixels) < num_chunks:
        pixels = np.tile(pixels, (-(-num_chunks // len(pixels)), 1))
    counts = np.zeros((num_chunks, frames, height // stride, width // stride), dtype=np.int64)
    for number, chunk in enumerate(np.array_split(pixels, num_chunks)):
        for t, y, x in chunk:
            counts[number, t, y // stride, x // stride] += 1
    return counts.reshape(num_chunks, -1)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 3), st.integers(1, 9), st.floats(0.01, 1))
def test_chunks_are_equal_runs_of_the_raster(
    seed: int, frames: int, num_chunks: int, density: float
) -> None:
    mask = np.random.default_rng(seed).random((frames, 8, 12)) < density
    mask[0, 0, 0] = True
    got = chunk_counts(torch.from_numpy(mask)[None], 4, num_chunks)
    np.testing.assert_array_equal(got.numpy(), chunks_by_hand(mask, 4, num_chunks))


def test_counts_of_cells() -> None:
    masks = torch.rand(3, 2, 8, 12) < 0.5
    want = masks.view(3, 2, 2, 4, 3, 4).sum((3, 5)).flatten(1)
    assert torch.equal(cell_counts(masks, 4), want)


def test_lists_hold_the_table() -> None:
    table = torch.randint(0, 3, (4, 9))
    table[2] = 0
    lists = concatenate_lists([lists_from_counts(table[:3]), lists_from_counts(table[3:])])
    back = torch.zeros_like(table)
    back[lists.rows, lists.indices] = lists.counts
    assert torch.equal(back, table)
    assert len(lists.indices) == int((table > 0).sum())


@pytest.mark.parametrize("limit", [1, 5, 1000])
def test_a_subsample_keeps_the_limit_and_nothing_else(limit: int) -> None:
    lists = lists_from_counts(torch.randint(0, 4, (3, 20)))
    before = torch.zeros(3, 20, dtype=torch.long)
    before[lists.rows, lists.indices] = lists.counts
    kept = subsample(lists, limit, torch.Generator().manual_seed(0))
    after = torch.zeros(3, 20, dtype=torch.long)
    after[kept.rows, kept.indices] = kept.counts
    assert torch.equal(after.sum(1), before.sum(1).clamp(max=limit))
    assert (after <= before).all()
    again = subsample(lists, limit, torch.Generator().manual_seed(0))
    assert torch.equal(again.indices, kept.indices)
