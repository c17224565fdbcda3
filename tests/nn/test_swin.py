from __future__ import annotations

import copy
import pickle

import pytest
import torch
from timm.models.swin_transformer import SwinTransformerBlock
from torch import Tensor

from segblocks.nn.swin import OfficialSwinBlock

SIZES = [(3, 5), (4, 4), (7, 10), (8, 12), (5, 16)]


def make_block(window: int, shift: int) -> SwinTransformerBlock:
    torch.manual_seed(0)
    block = SwinTransformerBlock(
        dim=8,
        input_resolution=(8, 8),
        num_heads=2,
        window_size=window,
        shift_size=shift,
        always_partition=True,
        dynamic_mask=True,
    )
    for parameter in block.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return block.double().eval()


def official(block: SwinTransformerBlock) -> SwinTransformerBlock:
    block.__class__ = OfficialSwinBlock
    return block


def loop_attention(block: SwinTransformerBlock, tokens: dict[tuple[int, int], Tensor]) -> dict:
    """Attention inside one window. The keys are (row, column) after the roll, in window order."""
    attn, window, heads = block.attn, block.window_size[0], block.attn.num_heads
    shift = block.shift_size[0]
    places = list(tokens)
    length = [max(place[axis] for place in block.all_places) + 1 for axis in (0, 1)]
    x = torch.stack([tokens[place] for place in places])
    q, k, v = attn.qkv(x).unflatten(-1, (3, heads, -1)).unbind(1)
    out = torch.zeros_like(v)
    for head in range(heads):
        scores = torch.empty(len(places), len(places), dtype=x.dtype)
        for i, (row, column) in enumerate(places):
            for j, (other_row, other_column) in enumerate(places):
                index = (row - other_row + window - 1) * (2 * window - 1)
                index += column - other_column + window - 1
                score = q[i, head] @ k[j, head] * q.shape[-1] ** -0.5
                score = score + attn.relative_position_bias_table[index, head]
                # Rolled up by `shift`: a place near the end holds what came from the start.
                wrapped = [
                    [place + shift >= size for place, size in zip(pair, length, strict=True)]
                    for pair in ((row, column), (other_row, other_column))
                ]
                if shift and wrapped[0] != wrapped[1]:
                    score = score - 100.0
                scores[i, j] = score
        out[:, head] = scores.softmax(-1) @ v[:, head]
    return dict(zip(places, attn.proj(out.flatten(1)), strict=True))


def loop_block(block: SwinTransformerBlock, x: Tensor) -> Tensor:
    """The official block in loops over tokens: pad, roll, windows, roll back, crop."""
    (height, width), window, shift = x.shape[:2], block.window_size[0], block.shift_size[0]
    rows, columns = (-(-size // window) * window for size in (height, width))
    block.all_places = [(row, column) for row in range(rows) for column in range(columns)]
    normed = block.norm1(x)
    zero = torch.zeros_like(normed[0, 0])
    rolled = {}
    for row, column in block.all_places:
        source = ((row + shift) % rows, (column + shift) % columns)
        inside = source[0] < height and source[1] < width
        rolled[row, column] = normed[source] if inside else zero
    attended = {}
    for top in range(0, rows, window):
        for left in range(0, columns, window):
            places = [(top + i, left + j) for i in range(window) for j in range(window)]
            attended |= loop_attention(block, {place: rolled[place] for place in places})
    out = torch.empty_like(x)
    for row in range(height):
        for column in range(width):
            out[row, column] = attended[(row - shift) % rows, (column - shift) % columns]
    x = x + out
    return x + block.mlp(block.norm2(x))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("window", "shift"), [(4, 0), (4, 2), (3, 1)])
def test_the_block_follows_the_official_order(
    size: tuple[int, int], window: int, shift: int
) -> None:
    block = official(make_block(window, shift))
    x = torch.randn(*size, 8, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(block(x[None])[0], loop_block(block, x))


def test_timm_pads_after_the_roll_which_differs_on_ragged_maps() -> None:
    x = torch.randn(1, 7, 10, 8, dtype=torch.float64)
    theirs = make_block(4, 2)
    with torch.no_grad():
        expected = theirs(x)
        assert (official(theirs)(x) - expected).norm() > 1e-3 * expected.norm()


def test_the_block_copies_and_pickles() -> None:
    block = official(make_block(4, 2))
    x = torch.randn(1, 7, 10, 8, dtype=torch.float64)
    with torch.no_grad():
        for other in (copy.deepcopy(block), pickle.loads(pickle.dumps(block))):
            torch.testing.assert_close(other(x), block(x), rtol=0, atol=0)
