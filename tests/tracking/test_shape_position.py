from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from segblocks.nn import ShapePositionDescriptor
from segblocks.tracking import ShapePositionMatcher
from tests.nn.outlines import draw


def video(num_clips: int = 5, num_queries: int = 12, seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    base = torch.randn(num_queries, 32, generator=generator)
    return [
        (base + 0.7 * torch.randn(num_queries, 32, generator=generator))[
            torch.randperm(num_queries, generator=generator)
        ]
        for _ in range(num_clips)
    ]


def by_query_matching(clips: list[Tensor]) -> list[list[int]]:
    """Tracking by query matching alone: each clip against the ordered queries of the last."""
    last, orders = clips[0].double().numpy(), []
    for clip in clips[1:]:
        now = clip.double().numpy()
        cosine = (last / np.linalg.norm(last, axis=1, keepdims=True)) @ (
            now / np.linalg.norm(now, axis=1, keepdims=True)
        ).T
        order = linear_sum_assignment(1 - cosine)[1]
        orders.append(order.tolist())
        last = now[order]
    return orders


@pytest.mark.parametrize("seed", range(5))
def test_without_shape_it_is_query_matching(seed: int) -> None:
    clips = video(seed=seed)
    shapes = [torch.randn(12, 32) for _ in clips]
    matcher = ShapePositionMatcher(spa_scale=0)
    slots = matcher.start(clips[0], shapes[0])
    found = [
        matcher.update(slots, e, h).tolist() for e, h in zip(clips[1:], shapes[1:], strict=True)
    ]
    assert found == by_query_matching(clips)


def test_equation_6_by_hand() -> None:
    e, h = (torch.randn(2, 4, 8, dtype=torch.float64) for _ in range(2))
    matcher = ShapePositionMatcher(spa_scale=0.3)
    found = matcher.affinity(matcher.start(e[0], h[0]), e[1], h[1])
    for i in range(4):
        for j in range(4):
            a, b = e[0, i] + 0.3 * h[0, i], e[1, j] + 0.3 * h[1, j]
            assert float(found[i, j]) == pytest.approx(float(a @ b / a.norm() / b.norm()))


@pytest.mark.parametrize("options", [{}, {"normalize": True, "spa_scale": 0.5}])
def test_twins_are_told_apart_by_shape(options: dict) -> None:
    describe = ShapePositionDescriptor(64)
    twin = torch.randn(64)
    first = describe(torch.stack([draw("star"), draw("ellipse"), draw("rectangle")])).vector
    later = describe(
        torch.stack(
            [draw("rectangle", at=(133, 126)), draw("star", 0.53), draw("ellipse", at=(125, 130))]
        )
    ).vector
    matcher = ShapePositionMatcher(**options)
    slots = matcher.start(twin.expand(3, -1), first)
    assert matcher.update(slots, twin.expand(3, -1), later).tolist() == [1, 2, 0]


def test_twins_of_one_shape_are_told_apart_by_place_unless_read_literally() -> None:
    twin = torch.randn(2, 64)[:1].expand(2, -1)
    then = torch.stack([draw("star", at=(70, 128)), draw("star", at=(180, 90))])
    now = torch.stack([draw("star", at=(176, 96)), draw("star", at=(76, 132))])
    matcher = ShapePositionMatcher()
    shapes = [ShapePositionDescriptor(64)(masks).vector for masks in (then, now)]
    slots = matcher.start(twin, shapes[0])
    assert matcher.update(slots, twin, shapes[1]).tolist() == [1, 0]
    literal = ShapePositionDescriptor(64, reading="literal")
    slots = matcher.start(twin, literal(then).vector)
    blind = matcher.affinity(slots, twin, literal(now).vector)
    assert float(blind.max() - blind.min()) < 1e-6


def test_kinds_do_not_mix() -> None:
    e = torch.eye(4)
    matcher = ShapePositionMatcher()
    slots = matcher.start(e, kinds=[0, 0, 1, 1])
    # By appearance alone slot 0 would take the third query, and slot 3 the second.
    assert matcher.update(slots, e[[1, 3, 0, 2]], kinds=[0, 0, 1, 1]).tolist() == [1, 0, 3, 2]


def test_objects_find_their_query_among_more() -> None:
    candidates = torch.eye(6)
    matcher = ShapePositionMatcher()
    slots = matcher.start(candidates[[4, 1]] + 0.1)
    assert matcher.update(slots, candidates).tolist() == [4, 1]
    matcher.add(slots, candidates[2:3])
    assert matcher.update(slots, candidates.flip(0)).tolist() == [1, 4, 3]


def test_the_descriptor_of_a_hidden_object_is_kept_for_a_while() -> None:
    e, shape = torch.eye(2), torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    matcher = ShapePositionMatcher(max_shape_age=2)
    slots = matcher.start(e, shape)
    gone = shape * torch.tensor([[1.0], [0.0]])
    for _ in range(2):
        matcher.update(slots, e, gone)
        assert slots.shapes.tolist() == shape.tolist()
    matcher.update(slots, e, gone)
    assert slots.shapes.tolist() == gone.tolist()
    matcher.update(slots, e, shape)
    assert slots.shapes.tolist() == shape.tolist()


def test_a_memory_survives_what_does_not_look_like_the_slot() -> None:
    e = torch.eye(3)
    hidden = torch.tensor([[0.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    hidden[0] = torch.tensor([-0.2, 0.1, 0.1])
    plain, remembering = ShapePositionMatcher(), ShapePositionMatcher(memory=2)
    for matcher in (plain, remembering):
        slots = matcher.start(e)
        matcher.update(slots, hidden)
        kept = torch.equal(slots.embeddings[0], e[0])
        assert kept == (matcher is remembering)
    # The same query again takes the slot over whole.
    slots = remembering.start(e)
    remembering.update(slots, e * 2)
    torch.testing.assert_close(slots.embeddings, e * 2)
    assert len(slots.history) == 2


def test_wrong_arguments_are_named() -> None:
    matcher = ShapePositionMatcher()
    with pytest.raises(ValueError, match="spa_scale must be at least 0"):
        ShapePositionMatcher(spa_scale=-1)
    with pytest.raises(ValueError, match=r"must both be \(N, C\)"):
        matcher.start(torch.eye(3), torch.eye(2))
    with pytest.raises(ValueError, match="kinds must be 3"):
        matcher.start(torch.eye(3), kinds=[0])
    slots = matcher.start(torch.eye(3), kinds=[0, 0, 1])
    with pytest.raises(ValueError, match="queries of kind 0 must be at least the 2 slots"):
        matcher.update(slots, torch.eye(3), kinds=[0, 1, 1])
