import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from segblocks.nn.point_lists import (
    PointLists,
    chunk_counts,
    concatenate_lists,
    grid_counts,
    list_cells,
)


def table(lists: PointLists, num_cells: int) -> torch.Tensor:
    """The counts of all cells, (rows, cells)."""
    dense = torch.zeros(len(lists.offsets) - 1, num_cells, dtype=torch.long)
    dense[lists.rows, lists.indices] = lists.counts
    return dense


def random_lists(rows: int, cells: int) -> PointLists:
    return list_cells(torch.randint(0, 4, (rows, cells)))


def chunks_by_hand(mask: np.ndarray, stride: int, num_chunks: int) -> np.ndarray:
    """Pixel by pixel, as the official code words it: nonzero, repeat, tensor_split."""
    frames, height, width = mask.shape
    pixels = np.argwhere(mask)
    if len(pixels) < num_chunks:
        pixels = np.tile(pixels, (-(-num_chunks // len(pixels)), 1))
    counts = np.zeros((num_chunks, frames, height // stride, width // stride), dtype=np.int64)
    for number, chunk in enumerate(np.array_split(pixels, num_chunks)):
        t, y, x = chunk.T
        np.add.at(counts[number], (t, y // stride, x // stride), 1)
    return counts.reshape(num_chunks, -1)


def test_only_cells_with_pixels_are_listed() -> None:
    counts = torch.randint(0, 2, (4, 9)) * torch.randint(1, 20, (4, 9))
    counts[2] = 0
    lists = list_cells(counts)
    assert torch.equal(table(lists, 9), counts)
    assert len(lists.indices) == int((counts > 0).sum())
    assert all(x.dtype == torch.int64 for x in lists)
    assert lists.offsets[2] == lists.offsets[3]


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 10_000), st.integers(1, 3), st.integers(1, 9), st.sampled_from([0.01, 0.3, 1])
)
def test_chunks_are_equal_runs_of_the_raster(
    seed: int, frames: int, num_chunks: int, density: float
) -> None:
    masks = np.random.default_rng(seed).random((3, frames, 8, 12)) < density
    masks[:, 0, 0, 0] = True
    masks[2] = False
    got = chunk_counts(torch.from_numpy(masks), 4, num_chunks)
    want = [chunks_by_hand(mask, 4, num_chunks) for mask in masks[:2]]
    assert got.dtype == torch.int32
    np.testing.assert_array_equal(got[: 2 * num_chunks].numpy(), np.concatenate(want))
    assert not got[2 * num_chunks :].any()


def test_no_masks_have_no_chunks() -> None:
    assert chunk_counts(torch.zeros(0, 2, 8, 12).bool(), 4, 3).shape == (0, 2 * 2 * 3)


@pytest.mark.parametrize("grid", [(4, 4), (1, 1), (3, 2)])
def test_a_grid_divides_what_is_free(grid: tuple[int, int]) -> None:
    free = torch.rand(2, 20, 28) < 0.7
    free[:, :7] = False
    got = grid_counts(free, 4, grid)
    want = torch.zeros_like(got)
    for t, y, x in free.nonzero().tolist():
        # boundaries of grid cells lie where floor(k * size / parts) says
        row = max(k for k in range(grid[0]) if k * 20 // grid[0] <= y)
        column = max(k for k in range(grid[1]) if k * 28 // grid[1] <= x)
        part = row * grid[1] + column
        want[part, (t * 5 + y // 4) * 7 + x // 4] += 1
    assert torch.equal(got, want)


def test_lists_are_joined_row_by_row() -> None:
    a, b = random_lists(3, 9), random_lists(2, 9)
    joined = table(concatenate_lists([a, b]), 9)
    assert torch.equal(joined, torch.cat((table(a, 9), table(b, 9))))


@pytest.mark.parametrize("limit", [1, 5, 1000])
def test_a_limit_is_kept_and_nothing_else(limit: int) -> None:
    before = torch.randint(0, 4, (3, 20))
    before[1] = 0
    lists = list_cells(before, limit, torch.Generator().manual_seed(0))
    after = table(lists, 20)
    assert torch.equal(after.sum(1), before.sum(1).clamp(max=limit))
    assert (after <= before).all()
    assert torch.equal(lists.indices, list_cells(before).indices)
    again = list_cells(before, limit, torch.Generator().manual_seed(0))
    assert torch.equal(again.counts, lists.counts)


def test_a_limit_favours_no_pixel() -> None:
    counts = torch.tensor([[4, 1, 2, 3], [1, 0, 0, 0]])
    generator = torch.Generator().manual_seed(0)
    drawn = torch.stack([list_cells(counts, 5, generator).counts for _ in range(400)])
    # Half of ten pixels: each is kept every other time, give or take 0.025.
    share = drawn.double().mean(0) / list_cells(counts).counts
    expected = share.new_tensor([0.5, 0.5, 0.5, 0.5, 1.0])
    torch.testing.assert_close(share, expected, rtol=0, atol=0.1)
