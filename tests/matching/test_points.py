from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from segblocks.matching import importance_points, seeded_generator, uniform_points


def test_generators_with_the_same_keys_agree_and_others_do_not() -> None:
    def draw(*keys: int | str) -> Tensor:
        return uniform_points((2,), 5, generator=seeded_generator(*keys))

    assert torch.equal(draw(0, 7, "bear"), draw(0, 7, "bear"))
    others = [draw(0, 7, "cow"), draw(0, 8, "bear"), draw(1, 7, "bear"), draw(0, "7", "bear")]
    assert not any(torch.equal(draw(0, 7, "bear"), other) for other in others)


def test_uniform_points_cover_the_frame_evenly() -> None:
    points = uniform_points((), 40000, generator=seeded_generator(0))
    cells = (points * 4).long()
    counts = torch.bincount(cells[:, 1] * 4 + cells[:, 0], minlength=16)
    assert counts.sum() == 40000
    assert counts.min() > 2300
    assert counts.max() < 2700


def test_the_best_candidates_are_kept() -> None:
    seen: list[Tensor] = []

    def score(candidates: Tensor) -> Tensor:
        seen.append(candidates)
        return candidates[..., 0]

    points = importance_points(score, (2, 3), 40, generator=seeded_generator(0))
    (candidates,) = seen
    assert candidates.shape == (2, 3, 120, 2)
    assert points.shape == (2, 3, 40, 2)
    best = candidates[..., 0].sort(dim=-1, descending=True).values[..., :30]
    assert torch.equal(points[..., :30, 0].sort(dim=-1, descending=True).values, best)
    # x and y stay together, and the rest is drawn without regard to the score.
    pairs = {tuple(p) for p in candidates[1, 2].tolist()}
    assert all(tuple(p) in pairs for p in points[1, 2, :30].tolist())
    assert not any(tuple(p) in pairs for p in points[1, 2, 30:].tolist())


@settings(deadline=None, max_examples=30)
@given(
    st.integers(1, 20), st.floats(1, 4), st.floats(0, 1), st.sampled_from([(), (0,), (2,), (1, 3)])
)
def test_any_shares_give_the_number_asked_for(
    num_points: int, oversample: float, importance: float, shape: tuple[int, ...]
) -> None:
    points = importance_points(
        lambda p: p[..., 1], shape, num_points, oversample=oversample, importance=importance
    )
    assert points.shape == (*shape, num_points, 2)
    assert ((points >= 0) & (points < 1)).all()


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"num_points": 0}, "num_points"),
        ({"importance": 1.5}, "importance"),
        ({"oversample": 0.5}, "oversample"),
    ],
)
def test_impossible_shares_are_refused(arguments: dict, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        importance_points(lambda p: p[..., 0], (), **{"num_points": 4, **arguments})


def test_sets_drawn_at_once_are_those_drawn_one_by_one() -> None:
    def draw(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        return importance_points(
            lambda p: p[..., 0], shape, 40, generator=generator, one_by_one=True
        )

    generator = seeded_generator(0)
    alone = torch.stack([draw((), generator) for _ in range(6)])
    assert torch.equal(draw((3, 2), seeded_generator(0)).flatten(0, 1), alone)
