from __future__ import annotations

import pytest
import torch

from segblocks.ops.resize import resize_logits
from segblocks.tracking import full_size
from segblocks.tracking.full_size import full_size_argmax, full_size_masks


@pytest.fixture(params=[1, 2000, 1 << 25])
def _chunks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(full_size, "_MAX_ELEMENTS", request.param)


@pytest.mark.usefixtures("_chunks")
@pytest.mark.parametrize("size", [(20, 30), (41, 25)])
def test_pieces_give_what_all_at_once_gives(size: tuple[int, int]) -> None:
    logits = torch.randn(7, 6, 8, generator=torch.Generator().manual_seed(0))
    full = resize_logits(logits, (20, 30), size)
    best, index = full_size_argmax(logits, (20, 30), size)
    torch.testing.assert_close(best, full.amax(dim=0))
    assert torch.equal(index, full.argmax(dim=0))
    assert (full_size_masks(logits, (20, 30), size) == (full > 0).numpy()).all()


@pytest.mark.usefixtures("_chunks")
def test_the_first_of_equals_wins() -> None:
    _, index = full_size_argmax(torch.ones(5, 4, 4), (16, 16), (16, 16))
    assert not index.any()


def test_no_rows_give_no_masks() -> None:
    assert full_size_masks(torch.zeros(0, 1, 1), (16, 16), (9, 7)).shape == (0, 9, 7)
