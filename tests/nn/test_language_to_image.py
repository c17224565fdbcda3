"""Text tokens that look at the image, against torch's own attention."""

from __future__ import annotations

import torch

from segblocks.nn import LanguageToImageAttention, Level
from tests.nn.test_prompt_attention import DIM, HEADS, official, randomise


def levels(frames: int = 2) -> list[Level]:
    torch.manual_seed(2)
    sizes = (4, 6)
    return [
        Level(
            torch.randn(1, frames, n, DIM, dtype=torch.float64),
            torch.randn(frames, n, DIM, dtype=torch.float64),
            torch.randn(1, frames, n, DIM, dtype=torch.float64),
        )
        for n in sizes
    ]


def test_tokens_attend_to_all_levels_of_a_frame_without_positions() -> None:
    step = randomise(LanguageToImageAttention(DIM, HEADS))
    tokens = torch.randn(1, 3, DIM, dtype=torch.float64)
    given = levels()
    refined = step(tokens, given)
    assert refined.shape == (1, 3, 2, DIM)
    for t in range(2):
        pixels = torch.cat([level.tokens[:, t] for level in given], dim=1)
        attended, weights = official(step)(tokens, pixels, pixels)
        torch.testing.assert_close(refined[:, :, t], step.norm(tokens + attended))
        shown = torch.cat([w[:, :, t] for w in step.weights(tokens, given)], dim=-1)
        want = (weights / weights.amax(-1, keepdim=True)).float()
        torch.testing.assert_close(shown, want)
    per_frame = tokens[:, :, None].expand(-1, -1, 2, -1)
    assert (step(per_frame, given) == refined).all()
