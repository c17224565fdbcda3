from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from segblocks.tracking.overlap import LogitRows, join


@given(data=st.data())
@settings(deadline=None)
def test_joined_logits_are_the_mean_over_the_clips_that_have_them(data: st.DataObject) -> None:
    """Three or more clips over one video, with rows that come and go, against a plain loop."""
    clip_length = data.draw(st.integers(1, 5))
    overlap = data.draw(st.integers(0, clip_length - 1))
    num_clips = data.draw(st.integers(1, 5))
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 99)))
    seen: dict[tuple[int, int], list[torch.Tensor]] = {}
    found: dict[tuple[int, int], torch.Tensor] = {}
    window = LogitRows.none(0)
    for clip in range(num_clips):
        start = clip * (clip_length - overlap)
        ids = data.draw(st.lists(st.integers(0, 4), unique=True))
        logits = torch.randn(len(ids), clip_length, 2, 3, generator=generator, dtype=torch.float64)
        hidden = torch.rand(len(ids), clip_length, generator=generator) < 0.2
        for row, i in enumerate(ids):
            for t in range(clip_length):
                if not hidden[row, t]:
                    seen.setdefault((start + t, i), []).append(logits[row, t])
        done = clip_length if clip == num_clips - 1 else clip_length - overlap
        rows, window = join(window, LogitRows.of_clip(ids, logits).hide(hidden)).split(done)
        for t in range(done):
            there, values = rows.frame(t)
            found |= {(start + t, i): value for i, value in zip(there, values, strict=True)}
    assert found.keys() == seen.keys()
    for key, values in seen.items():
        torch.testing.assert_close(found[key], torch.stack(values).mean(dim=0))


def test_a_row_without_logits_has_no_mask() -> None:
    rows = LogitRows.of_clip((1, 2), torch.ones(2, 3, 2, 2))
    hidden = rows.hide(torch.tensor([[True, False, False], [False, False, True]]))
    assert hidden.masks.flatten(2).all(dim=2).tolist() == [
        [False, True, True],
        [True, True, False],
    ]


def test_the_rest_drops_rows_and_memory() -> None:
    rows = LogitRows.of_clip((1, 2), torch.ones(2, 4, 8, 8))
    rows = rows.hide(torch.tensor([[False], [True]]))
    _, rest = rows.split(3)
    assert rest.ids == (1,)
    assert rest.logits.untyped_storage().nbytes() == 64 * 4


def test_clips_that_do_not_fit_together_are_refused() -> None:
    three = LogitRows.of_clip((1,), torch.ones(1, 3, 2, 2))
    with pytest.raises(ValueError, match="at most 2 frames, got 3"):
        join(three, LogitRows.of_clip((1,), torch.ones(1, 2, 2, 2)))
    with pytest.raises(ValueError, match="one size"):
        join(three, LogitRows.of_clip((1,), torch.ones(1, 3, 2, 4)))
